"""From a recipe to its parts: encoder, separator, training data, validation data."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from qsep.queries.cache import CachedEncoder
from qsep.queries.interface import TextQuery
from qsep.separation.components import build_encoder, build_separator, setting_names

from .config import Recipe, from_table
from .data.augment import AugmentConfig
from .data.mix_and_separate import MixAndSeparate, MixConfig, Sounds
from .data.wording import PhraseBook, load_phrase_book


def build_query_encoder(recipe: Recipe) -> tuple[str, Any, CachedEncoder]:
    """(kind, encoder, the same with its cache)."""
    settings = dict(recipe.encoder)
    kind = settings.pop("kind")
    encoder = build_encoder(kind, settings)
    return kind, encoder, CachedEncoder(encoder)


def build_book(recipe: Recipe) -> PhraseBook:
    """The recipe's phrase book, restricted to its labels when it names some."""
    book = load_phrase_book(recipe.data.phrases)
    chosen = recipe.data.labels
    if not chosen:
        return book
    unknown = set(chosen) - set(book.labels)
    if unknown:
        raise ValueError(f"data.labels: {sorted(unknown)[0]!r} is not in the phrase book")
    names = dict(zip(book.labels, book.names, strict=True))
    phrases = {label: book.phrases[label] for label in chosen}
    return PhraseBook(chosen, tuple(names[label] for label in chosen), phrases, book.other)


def build_model(recipe: Recipe, book: PhraseBook, encoder: CachedEncoder) -> tuple[str, Any]:
    """(kind, separator), initialised from train.seed; a separator with a reader gets its phrase book here."""
    settings = dict(recipe.separator)
    kind = settings.pop("kind")
    texts, concepts = book.concepts()
    known = setting_names(kind)
    if "concepts" in known:
        settings |= {"concepts": list(book.names), "num_phrases": len(texts)}
    if "query_dim" in known:
        settings |= {"query_dim": encoder.dim}
    torch.manual_seed(recipe.train.seed)
    separator = build_separator(kind, settings)
    if hasattr(separator, "reader"):
        embeddings = encoder.encode([TextQuery(text) for text in texts]).pooled
        separator.reader.learn(embeddings, torch.tensor(concepts))
    return kind, separator


def build_data(
    recipe: Recipe, book: PhraseBook, sample_rate: int, validation: bool
) -> MixAndSeparate:
    """Mixtures for training, or of other sounds and as they are (no augmentation) for validation."""
    tables = {"augment": recipe.augment, "mix": recipe.mix}
    augment = from_table(AugmentConfig, tables, "augment", recipe.name)
    if validation:
        augment = dataclasses.replace(
            augment,
            speed_probability=0.0,
            filter_probability=0.0,
            reverb_probability=0.0,
            second_probability=0.0,
        )
    mix = dataclasses.replace(from_table(MixConfig, tables, "mix", recipe.name), augment=augment)
    if validation:
        gains = (1.0, 1.0) if mix.gains else ()
        mix = dataclasses.replace(mix, gains=gains, noise_db=())
    split = recipe.data.validation_split if validation else recipe.data.split
    seed = recipe.train.seed + (1 if validation else 0)
    return MixAndSeparate(
        build_sounds(recipe, book, sample_rate, split, augment), book, mix, sample_rate, seed
    )


def build_sounds(
    recipe: Recipe, book: PhraseBook, sample_rate: int, split: str, augment: AugmentConfig
) -> Sounds:
    if recipe.data.sounds == "recordings":
        from .data.clips import ClipStore
        from .data.mix_and_separate import RecordedSounds

        folder = Path(recipe.data.folder)
        labels = recipe.data.labels or None
        return RecordedSounds(ClipStore(folder, split, sample_rate, labels).by_label, augment)
    if recipe.data.sounds == "synthetic":
        from .data.synthetic_sounds import SyntheticSounds

        return SyntheticSounds(book.labels, sample_rate)
    raise ValueError(f"data.sounds must be 'recordings' or 'synthetic', got {recipe.data.sounds!r}")

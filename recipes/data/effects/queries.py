"""Varied queries: other wordings, text mixed with the sound itself, and dropped queries for guidance.

Text and audio: CLAPSep (Ma et al. 2024) mixes the embedding of the caption with that of the target.
Dropping: Ho and Salimans, "Classifier-free diffusion guidance" (2022).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from qsep.queries.interface import AudioQuery, MixedQuery, Query, QueryEmbedding, TextQuery

from ..wording import FRAMES, MAX_FRAMED_WORDS
from .config import QueryConfig

DROP_STREAM = 9  # of random numbers of an item

Paraphrases = Mapping[str, Sequence[str]]


def read_paraphrases(path: str) -> Paraphrases:
    """A TOML file of texts, each with a list of others that mean the same; empty for no path.

    Raises ValueError for a file that does not exist or has another form.
    """
    if not path:
        return {}
    try:
        content = tomllib.loads(Path(path).read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(f"mix.queries.paraphrases: {path}: no such file") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not TOML: {error}") from error
    for text, others in content.items():
        is_list = isinstance(others, list) and bool(others)
        if not is_list or not all(isinstance(other, str) and other.strip() for other in others):
            raise ValueError(f'{path}: {text!r}: expected other wordings, as "rain" = ["rainfall"]')
    return content


def varied(
    queries: Sequence[Query | None],
    sounds: np.ndarray,
    config: QueryConfig,
    paraphrases: Paraphrases,
    sample_rate: int,
    rng: np.random.Generator,
) -> list[Query | None]:
    """The queries of one item, text by other words or mixed with its sound; other kinds as they are.

    sounds: (s, t), the sources without effects, zeros for a sound that is absent.
    """
    changed: list[Query | None] = []
    for query, sound in zip(queries, sounds, strict=True):
        if isinstance(query, TextQuery):
            query = reworded(query, config, paraphrases, rng)
            by_sound = rng.random() < config.audio_probability
            share = rng.uniform(*config.audio_share)
            if by_sound and sound.any():
                example = AudioQuery(sound, sample_rate=sample_rate)
                changed.append(MixedQuery(query, example, weights=(1 - share, share)))
                continue
        changed.append(query)
    return changed


def reworded(
    query: TextQuery, config: QueryConfig, paraphrases: Paraphrases, rng: np.random.Generator
) -> TextQuery:
    """The query, a paraphrase of it, or either of them in a template."""
    text = query.text
    others = paraphrases.get(text, ())
    if rng.random() < config.paraphrase_probability and others:
        text = others[int(rng.integers(len(others)))]
    if rng.random() < config.template_probability and len(text.split()) <= MAX_FRAMED_WORDS:
        text = FRAMES[rng.integers(len(FRAMES))].format(text)
    return TextQuery(text)


def dropped(queries: QueryEmbedding, ids: Sequence[str], probability: float) -> QueryEmbedding:
    """The embeddings (b, s, …) with some set to zero, each with the probability.

    ids: of the b items, SEED-NUMBER, on which alone it depends which ones.
    """
    num_queries = queries.pooled.shape[1]
    chances = [
        np.random.default_rng((*map(int, name.split("-")), DROP_STREAM)).random(num_queries)
        for name in ids
    ]
    kept = torch.tensor(np.array(chances) >= probability, device=queries.pooled.device)
    tokens = queries.tokens
    return replace(
        queries,
        pooled=queries.pooled * kept[..., None],
        tokens=None if tokens is None else tokens * kept[..., None, None],
    )

"""The parts of a recipe: query encoder, task, training data, validation data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qsep.queries.cache import CachedEncoder
from qsep.queries.interface import AudioQuery, ImageQuery, QueryEncoder, TextQuery
from qsep.separation.components import build_encoder

from ..data.captions.scenes import CaptionedScenes, LabelledScenes, Scenes, divided
from ..data.captions.stored_phrases import phrase_parser
from ..data.effects.treated import TreatedMixtures
from ..data.index import read_index
from ..data.mixtures.augment import AugmentConfig
from ..data.mixtures.captioned import CaptionedMixConfig, CaptionedMixtures
from ..data.mixtures.classes import ClassMixConfig, ClassMixtures, ClassSounds
from ..data.mixtures.clips import ClipStore, Take, load_takes, read_clip_list
from ..data.mixtures.interface import DrawnMixtures, Mixtures
from ..data.mixtures.mix_and_separate import MixAndSeparate, MixConfig, RecordedSounds, Sounds
from ..data.mixtures.segments import SegmentMixConfig, SegmentMixtures, read_captions
from ..data.mixtures.shapes import ShapeMixConfig, ShapeMixtures, for_validation
from ..data.mixtures.speakers import SpeakerMixConfig, SpeakerMixtures, Voices
from ..data.mixtures.synthetic import SyntheticSounds, synthetic_takes
from ..data.mixtures.unmixed import UnmixedMixtures
from ..data.mixtures.videos import QueryChooser, VideoMixConfig, VideoMixtures
from ..data.synthetic import KINDS
from ..data.wording import PhraseBook, book_of_labels, load_phrase_book
from .config import LISTED, Recipe, from_table
from .initial_weights.class_rows import starting_classes
from .query_batch import NoQueries
from .tasks import audio_encoder, autoencoder, separator, vocoder
from .tasks.interface import Task

DATA_PHRASES = "phrases.toml"
SYNTHESISED = ("synthetic", "shapes")  # kinds of data.sounds without recordings


def build_query_encoder(recipe: Recipe) -> tuple[str, Any, QueryEncoder]:
    """Kind, encoder, and the encoder with its cache; "", None and NoQueries for a recipe without queries.

    Labels or classes that the recipe does not list are those of the data.
    """
    if not recipe.encoder:
        return "", None, NoQueries()
    settings = dict(recipe.encoder)
    kind = settings.pop("kind")
    if kind == "labels" and not settings.get("labels"):
        settings["labels"] = list(data_labels(recipe))
    if kind == "phrase_book" and not settings.get("classes"):
        settings["classes"] = list(classes(recipe))
    if kind == "phrase_book" and settings.get("phrases"):
        settings["phrases"] = with_data_phrases(settings["phrases"], Path(recipe.data.folder))
    encoder = build_encoder(kind, settings)
    if encoder.remembers or recipe.data.queries == "audio":  # each example is used once
        return kind, encoder, encoder
    if recipe.effects.queries.audio_probability:
        if encoder.token_dim or not {AudioQuery, TextQuery} <= encoder.modalities:
            raise ValueError(
                f"mix.queries.audio_probability needs an encoder of text and audio without tokens, as "
                f"'joint' or 'clap'; encoder.kind is {kind!r}"
            )
        return kind, encoder, CachedEncoder(encoder, transient=frozenset({AudioQuery}))
    # Patches of a picture are hundreds of vectors; those of drawn pictures are never used again.
    is_large = encoder.grid is not None or recipe.data.sounds == "shapes"
    transient = frozenset({ImageQuery}) if is_large else frozenset[type]()
    return kind, encoder, CachedEncoder(encoder, transient=transient)


def classes(recipe: Recipe) -> tuple[str, ...]:
    """Sound classes of the recipe's model: those of the model that it starts from, then the data's labels."""
    known = starting_classes(recipe.train)
    return known + tuple(label for label in data_labels(recipe) if label not in known)


def with_data_phrases(phrases: str | Sequence[str], folder: Path) -> list[str]:
    """The phrase books, followed by the data folder's if `qsep data folder` has written one."""
    books = [phrases] if isinstance(phrases, str) else list(phrases)
    path = folder / DATA_PHRASES
    return [*books, str(path)] if path.is_file() and str(path) not in books else books


def data_labels(recipe: Recipe) -> tuple[str, ...]:
    """The recipe's labels if it lists any, else all labels of its data, sorted."""
    data, folder = recipe.data, Path(recipe.data.folder)
    if data.labels:
        return data.labels
    if data.sounds in SYNTHESISED:
        return tuple(sorted(KINDS))
    splits = (data.split, data.validation_split)
    read = read_index if data.sounds == "videos" else read_clip_list
    return tuple(sorted({clip.label for split in splits for clip in read(folder, split)}))


def build_book(recipe: Recipe) -> PhraseBook:
    """The recipe's phrase book, restricted to its labels if it lists any; ValueError for labels not in it."""
    if recipe.data.phrases == "captions":  # each recording has its own captions
        return book_of_labels(())
    if recipe.data.phrases == "labels":
        return book_of_labels(data_labels(recipe))
    # A joint encoder keeps the book with its weights, and reads words in frames as well without them.
    book = load_phrase_book(recipe.data.phrases, framed=recipe.part != "audio_encoder")
    chosen = recipe.data.labels
    if not chosen:
        return book
    unknown = set(chosen) - set(book.labels)
    if unknown:
        raise ValueError(f"data.labels: {sorted(unknown)[0]!r} is not in the phrase book")
    names = dict(zip(book.labels, book.names, strict=True))
    phrases = {label: book.phrases[label] for label in chosen}
    return PhraseBook(chosen, tuple(names[label] for label in chosen), phrases, book.other)


def build_task(recipe: Recipe, book: PhraseBook, encoder: QueryEncoder) -> Task:
    """The recipe's task with its model, initialised from train.seed."""
    builders: dict[str, Callable[[Recipe, PhraseBook, QueryEncoder], Task]] = {
        "separator": separator.build,
        "audio_encoder": audio_encoder.build,
        "autoencoder": autoencoder.build,
        "vocoder": vocoder.build,
    }
    return builders[recipe.part](recipe, book, encoder)


def check_data(recipe: Recipe) -> None:
    """Raise ValueError or OSError for missing or bad lists, before any expensive work."""
    data, folder = recipe.data, Path(recipe.data.folder)
    for split in (data.split, data.validation_split):
        if data.sounds in LISTED:
            read_clip_list(folder, split, data.labels or None)
        elif data.sounds == "videos":
            read_index(folder, split, data.labels or None)
        elif data.sounds == "captions":
            read_captions(folder, split)


def mix_config(recipe: Recipe) -> Any:
    """The recipe's own settings of mixtures, of the kind that its data have; ValueError for bad ones."""
    kinds = {"videos": VideoMixConfig, "classes": ClassMixConfig, "captions": SegmentMixConfig}
    kinds |= {"shapes": ShapeMixConfig, "speakers": SpeakerMixConfig}
    kind: Any = kinds.get(recipe.data.sounds, MixConfig)
    if recipe.data.sources == "captions":
        kind = CaptionedMixConfig
    return from_table(kind, {"mix": recipe.mix}, "mix", recipe.name)


def build_data(recipe: Recipe, book: PhraseBook, sample_rate: int, validation: bool) -> Mixtures:
    """Mixtures for training, or of the validation split and without augmentation for validation.

    Raises ValueError for settings that do not go together.
    """
    mixtures = build_mixtures(recipe, book, sample_rate, validation)
    effects = recipe.effects.for_validation() if validation else recipe.effects
    return TreatedMixtures(mixtures, effects) if effects.active else mixtures


def for_workers(mixtures: Mixtures, recipe: Recipe) -> Any:
    """The data set whose items the loader's workers make, of training mixtures; see train.mix_on_device."""
    if recipe.train.mix_on_device and isinstance(mixtures, ClassMixtures | MixAndSeparate):
        return UnmixedMixtures(mixtures)
    return mixtures


def build_mixtures(
    recipe: Recipe, book: PhraseBook, sample_rate: int, validation: bool
) -> DrawnMixtures:
    """Mixtures as `build_data`, without effects."""
    if recipe.data.sources == "captions":
        return build_captioned_mixtures(recipe, book, sample_rate, validation)
    if recipe.data.sounds == "videos":
        return build_video_mixtures(recipe, book, sample_rate, validation)
    if recipe.data.sounds == "shapes":
        return build_shape_mixtures(recipe, sample_rate, validation)
    if recipe.data.sounds == "classes":
        return build_class_mixtures(recipe, sample_rate, validation)
    if recipe.data.sounds == "speakers":
        return build_speaker_mixtures(recipe, sample_rate, validation)
    if recipe.data.sounds == "captions":
        return build_segment_mixtures(recipe, sample_rate, validation)
    if recipe.data.queries != "text":
        raise ValueError(f"data.queries is {recipe.data.queries!r}, but only videos have pictures")
    tables = {"augment": recipe.augment, "mix": recipe.mix}
    augment = from_table(AugmentConfig, tables, "augment", recipe.name)
    if validation:
        augment = unaugmented(augment)
    mix = dataclasses.replace(from_table(MixConfig, tables, "mix", recipe.name), augment=augment)
    if validation:
        gains = (1.0, 1.0) if mix.gains else ()
        mix = dataclasses.replace(mix, gains=gains, noise_db=())
    split = recipe.data.validation_split if validation else recipe.data.split
    seed = recipe.train.seed + (1 if validation else 0)
    return MixAndSeparate(
        build_sounds(recipe, book, sample_rate, split, augment), book, mix, sample_rate, seed
    )


def build_video_mixtures(
    recipe: Recipe, book: PhraseBook, sample_rate: int, validation: bool
) -> VideoMixtures:
    """Mixtures of videos, queried by frames, labels or both."""
    if recipe.augment:
        raise ValueError(f"recipe {recipe.name}: videos are not augmented; leave [augment] out")
    data, folder = recipe.data, Path(recipe.data.folder)
    mix = from_table(VideoMixConfig, {"mix": recipe.mix}, "mix", recipe.name)
    seed, batch_size = recipe.train.seed, recipe.train.batch_size
    chooser = QueryChooser(data.queries, seed, batch_size, validation)
    split = data.validation_split if validation else data.split
    clips = read_index(folder, split, data.labels or None)
    if len(clips) < mix.num_sources:
        raise ValueError(
            f"{folder / split}.csv: {len(clips)} clips are too few for mixtures of {mix.num_sources}"
        )
    if validation:
        mix = dataclasses.replace(mix, mixed_pictures=False)
    return VideoMixtures(folder, clips, book, mix, chooser, sample_rate, seed, validation)


def build_shape_mixtures(recipe: Recipe, sample_rate: int, validation: bool) -> ShapeMixtures:
    """Mixtures of synthetic sounds, queried by pictures of shapes; see `for_validation`."""
    if recipe.augment or recipe.data.queries != "image":
        raise ValueError(
            f"recipe {recipe.name}: shapes are not augmented and are queried by pictures; leave [augment] "
            "out and set data.queries to 'image'"
        )
    mix = from_table(ShapeMixConfig, {"mix": recipe.mix}, "mix", recipe.name)
    sounds = SyntheticSounds(data_labels(recipe), sample_rate)
    return ShapeMixtures(
        sounds, for_validation(mix) if validation else mix, recipe.train.seed + validation
    )


def build_class_mixtures(recipe: Recipe, sample_rate: int, validation: bool) -> ClassMixtures:
    """Mixtures of sounds of classes. For validation each query is a single class and nothing is augmented."""
    tables = {"augment": recipe.augment, "mix": recipe.mix}
    augment = from_table(AugmentConfig, tables, "augment", recipe.name)
    mix = from_table(ClassMixConfig, tables, "mix", recipe.name)
    if validation:
        augment = unaugmented(augment)
        mix = dataclasses.replace(
            mix, lowpass_probability=0.0, background_probability=0.0, group_probability=0.0
        )
    mix = dataclasses.replace(mix, augment=augment)
    data = recipe.data
    split = data.validation_split if validation else data.split
    takes = load_takes(Path(data.folder), split, sample_rate, data.labels or None)
    if data.replay:
        mix = dataclasses.replace(mix, favoured=tuple(sorted(takes)))
        takes = with_replay(takes, recipe, sample_rate, validation)
    sounds = ClassSounds(takes, mix, sample_rate)
    return ClassMixtures(sounds, mix, sample_rate, recipe.train.seed + validation)


def build_speaker_mixtures(recipe: Recipe, sample_rate: int, validation: bool) -> SpeakerMixtures:
    """Conversations queried by examples of the voices. For validation nothing is augmented, and the speakers
    are those of the validation split and the ones held out of training."""
    tables = {"augment": recipe.augment, "mix": recipe.mix}
    augment = from_table(AugmentConfig, tables, "augment", recipe.name)
    mix = from_table(SpeakerMixConfig, tables, "mix", recipe.name)
    if validation:  # speakers alone cannot be improved
        augment = unaugmented(augment)
        mix = dataclasses.replace(mix, num_sources_weights=(0.0, *mix.num_sources_weights[1:]))
    mix = dataclasses.replace(mix, augment=augment)
    data, held_out = recipe.data, set(mix.held_out)
    labels = (*data.labels, *mix.backgrounds)
    takes = load_takes(Path(data.folder), data.split, sample_rate, labels)
    kept = {
        label: [take for take in takes[label] if (take.group in held_out) == validation]
        for label in data.labels
    }
    if validation:
        others = load_takes(Path(data.folder), data.validation_split, sample_rate, labels)
        for label in others:
            kept[label] = [*kept.get(label, ()), *others[label]]
    else:
        kept |= {label: takes[label] for label in mix.backgrounds}
    voices = Voices(kept, mix, sample_rate)
    return SpeakerMixtures(voices, mix, sample_rate, recipe.train.seed + validation)


def with_replay(
    takes: dict[str, list[Take]], recipe: Recipe, sample_rate: int, validation: bool
) -> dict[str, list[Take]]:
    """The takes with those of data.replay added, for the classes that the model starts with.

    Synthetic takes are left out for validation.
    """
    data = recipe.data
    if data.replay != "synthetic":
        split = data.validation_split if validation else data.split
        others = load_takes(Path(data.replay), split, sample_rate)
    else:
        others = {} if validation else synthetic_takes(sample_rate)
    labels = sorted({*takes, *(others.keys() & set(starting_classes(recipe.train)))})
    return {label: [*takes.get(label, ()), *others.get(label, ())] for label in labels}


def unaugmented(augment: AugmentConfig) -> AugmentConfig:
    """The configuration with every augmentation off."""
    return dataclasses.replace(
        augment,
        speed_probability=0.0,
        filter_probability=0.0,
        reverb_probability=0.0,
        second_probability=0.0,
    )


def build_captioned_mixtures(
    recipe: Recipe, book: PhraseBook, sample_rate: int, validation: bool
) -> CaptionedMixtures:
    """Mixtures of captioned mixtures. For validation they are of single sounds and nothing is augmented."""
    tables = {"augment": recipe.augment, "mix": recipe.mix}
    augment = from_table(AugmentConfig, tables, "augment", recipe.name)
    mix = from_table(CaptionedMixConfig, tables, "mix", recipe.name)
    if validation:
        augment = unaugmented(augment)
        mix = dataclasses.replace(mix, supervised_share=1.0, single_fraction=1.0)
        mix = dataclasses.replace(mix, gains=(1.0, 1.0) if mix.gains else ())
    data, folder = recipe.data, Path(recipe.data.folder)
    split = data.validation_split if validation else data.split
    scenes: Scenes
    if data.sounds == "captions":
        if recipe.augment:
            raise ValueError(f"recipe {recipe.name}: captioned recordings are not augmented")
        clips = read_captions(folder, split)
        parse = phrase_parser(folder)
        scenes = CaptionedScenes(folder, clips, mix.levels(), sample_rate, parse)
    elif data.sounds == "recordings":
        by_label = ClipStore(folder, split, sample_rate, data.labels or None).by_label
        alone, together = divided(by_label, mix.single_fraction)
        scenes = LabelledScenes(
            alone, together, book, mix.num_sounds, mix.levels(), augment, sample_rate
        )
    else:
        raise ValueError(
            f"data.sounds is {data.sounds!r}; data.sources = 'captions' needs 'recordings' or 'captions'"
        )
    return CaptionedMixtures(scenes, mix, sample_rate, recipe.train.seed + validation)


def build_segment_mixtures(recipe: Recipe, sample_rate: int, validation: bool) -> SegmentMixtures:
    """Mixtures of segments of captioned recordings, queried by caption or by example."""
    if recipe.augment:
        raise ValueError(f"recipe {recipe.name}: captioned recordings are not augmented")
    data, folder = recipe.data, Path(recipe.data.folder)
    if data.queries not in ("text", "audio"):
        raise ValueError(f"data.queries is {data.queries!r}; expected 'text' or 'audio'")
    mix = from_table(SegmentMixConfig, {"mix": recipe.mix}, "mix", recipe.name)
    clips = read_captions(folder, data.validation_split if validation else data.split)
    seed, batch_size = recipe.train.seed + validation, recipe.train.batch_size
    by_example = data.queries == "audio"
    return SegmentMixtures(folder, clips, mix, by_example, batch_size, sample_rate, seed)


def build_sounds(
    recipe: Recipe, book: PhraseBook, sample_rate: int, split: str, augment: AugmentConfig
) -> Sounds:
    """Sounds to mix: labelled recordings of a split, or synthetic ones."""
    if recipe.data.sounds == "recordings":
        folder = Path(recipe.data.folder)
        labels = recipe.data.labels or None
        return RecordedSounds(ClipStore(folder, split, sample_rate, labels).by_label, augment)
    if recipe.data.sounds == "synthetic":
        return SyntheticSounds(book.labels, sample_rate)
    raise ValueError(
        "data.sounds must be 'captions', 'recordings', 'videos', 'shapes', 'speakers' or 'synthetic', "
        f"got {recipe.data.sounds!r}"
    )

"""Checks of whether a recipe can be trained here, without embedding anything."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from qsep.separation.components import check_separator
from qsep.separation.storage.results import Results

from ..data.corpus.shards import INDEX, read_index
from ..data.mixtures.augment import AugmentConfig
from ..data.mixtures.clips import read_clip_list
from ..data.mixtures.mix_and_separate import MixConfig, check_numbers
from ..data.mixtures.synthetic import check_synthetic
from .build import SYNTHESISED, build_book, data_labels, mix_config
from .config import (
    EFFECTS,
    LISTED,
    Recipe,
    from_table,
    is_published,
    start_folder,
    start_names,
)
from .initial_weights.class_rows import new_classes, starting_classes
from .output.trackers import trackers_known

Check = Callable[[Recipe], str]


class Finding(NamedTuple):
    """The result of a check. good: False for a fault; text: what was found."""

    good: bool
    text: str


def check(recipe: Recipe) -> Iterator[Finding]:
    """The findings of all checks, also of those after a fault."""
    checks: list[Check] = [
        model_settings_known,
        data_exists,
        labels_known,
        mixtures_known,
        start_weights_exist,
        trackers_known,
    ]
    for run_check in checks:
        try:
            text = run_check(recipe)
        except (ValueError, OSError) as error:
            yield Finding(False, " ".join(str(error).split()))
        else:
            if text:
                yield Finding(True, text)


def ready(recipe: Recipe, out: Path) -> Iterator[str]:
    """What the checks found, one after the other; ValueError for the first fault, before anything is done."""
    for finding in check(recipe):
        if not finding.good:
            raise ValueError(finding.text)
        yield finding.text
    yield output_writable(out)


def output_writable(out: Path) -> str:
    """The free space where the run's folder is or will be; ValueError if it cannot be written to."""
    Results(out, "train")  # refuses folders of others
    parent = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not os.access(parent, os.W_OK):
        raise ValueError(f"{out}: {parent} cannot be written to; choose another folder with -o")
    return f"{out}: {shutil.disk_usage(parent).free / 1e9:.1f} GB free"


def model_settings_known(recipe: Recipe) -> str:
    """The model and the length of training; ValueError for a setting that the separator cannot have."""
    kind = recipe.model["kind"]
    if recipe.part != "separator":
        return f"{recipe.part} {kind}"
    try:
        check_separator(kind, {name: recipe.model[name] for name in recipe.model.keys() - {"kind"}})
    except ValueError as error:
        raise ValueError(f"[separator]: {error}") from error
    return f"separator {kind}, {recipe.train.steps} steps of {recipe.train.batch_size} mixtures"


def data_exists(recipe: Recipe) -> str:
    """The data folder and its numbers of clips; ValueError or OSError if they are missing."""
    data = recipe.data
    if data.sounds in SYNTHESISED:
        return "sounds are synthesised"
    folder = Path(data.folder)
    if not folder.is_dir():
        raise ValueError(f"data.folder: {folder} is not a folder; set data.folder=…")
    if data.sounds not in LISTED:
        return f"{data.sounds} in {folder}"
    if (folder / INDEX).is_file():
        shards = read_index(folder)
        counts = {s.split: sum(o.clips for o in shards if o.split == s.split) for s in shards}
    else:
        splits = (data.split, data.validation_split)
        counts = {
            split: len(read_clip_list(folder, split, data.labels or None)) for split in splits
        }
    return f"{folder}: " + ", ".join(f"{number} {split}" for split, number in counts.items())


def labels_known(recipe: Recipe) -> str:
    """The number of labels; ValueError for a label without wordings in the phrase book."""
    if recipe.part != "separator" or recipe.data.phrases == "captions":
        return ""
    book = build_book(recipe)
    synthetic = recipe.data.sounds in SYNTHESISED
    labels = book.labels if synthetic else data_labels(recipe)
    if synthetic:
        check_synthetic(labels)
    missing = sorted(set(labels) - set(book.labels))
    if missing:
        raise ValueError(f"data.phrases: {recipe.data.phrases} has no wordings for {missing[0]!r}")
    return f"{len(labels)} labels"


def mixtures_known(recipe: Recipe) -> str:
    """The length of mixtures and their effects.

    ValueError for bad settings of [mix] and [augment], and for too few labels to mix.
    """
    mix = mix_config(recipe)
    if isinstance(mix, MixConfig):
        synthetic = recipe.data.sounds == "synthetic"
        labels = build_book(recipe).labels if synthetic else data_labels(recipe)
        check_numbers(mix, len(labels))
    from_table(AugmentConfig, {"augment": recipe.augment}, "augment", recipe.name)
    changed = [
        f"mix.{name}" for name in EFFECTS if getattr(recipe.effects, name) != EFFECTS[name]()
    ]
    effects = f", with {', '.join(changed)}" if changed else ""
    return f"mixtures of {mix.segment_samples} samples{effects}"


def start_weights_exist(recipe: Recipe) -> str:
    """The checkpoints of train.start_from; ValueError if one is missing, or has all classes if only new
    ones are to be trained."""
    names = start_names(recipe.train)
    sources = [name if is_published(name) else str(start_folder(name)) for name in names]
    for source in sources:
        folder = Path(source)
        is_released = is_published(source) or folder.is_file()
        if recipe.model["kind"] != "queried" and is_released:
            raise ValueError(f"train.start_from: {source} is a start for queried separators alone")
        if not is_released and not (folder / "model.safetensors").is_file():
            raise ValueError(f"train.start_from: {folder} is not a checkpoint folder")
    if recipe.train.new_classes_only:
        new_classes(data_labels(recipe), starting_classes(recipe.train))
    return f"starts from {', '.join(sources)}" if sources else ""

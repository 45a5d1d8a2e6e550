"""ESC-50 and ESC-10 (Piczak 2015) by fold: every clip with one of another category at 0 dB.

The data folder is the ESC-50 repository: meta/esc50.csv and audio/. No publication fixes the pairs; here
they are drawn by a hash, within folds, so that a model trained on four folds is tested on unseen
recordings. Mono at 44.1 kHz. Figures: SDRi and SI-SDRi, means over folds of the mean over items.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qsep.separation.audio.reader import read_mono

from ..interface import Item, ItemQuery, Publication
from ..items.published import PublishedItems, choose, mean_of
from ..items.recordings import check_files, read_list, without_header

CONDITIONS = ("plain",)
SAMPLE_RATE = 44100
COLUMNS = ("filename", "fold", "category", "esc10")
FOLDS = ("1", "2", "3", "4", "5")
FIGURES = {"SDRi": "sdr_i", "SI-SDRi": "si_sdr_i"}


class Clip(NamedTuple):
    """A row of esc50.csv: file in audio/, fold 1 to 5, category."""

    file: str
    fold: str
    category: str


def load(
    data: Path,
    manifest: Path | None = None,
    condition: str = "plain",
    subset: str = "esc50",
    fold: str = "all",
) -> PublishedItems:
    """Items of a subset, esc50 or esc10, and a fold, one of FOLDS or all.

    manifest: another list in the format of esc50.csv. Raises ValueError for a bad setting or list,
    FileNotFoundError for missing files.
    """
    path = manifest or data / "meta" / "esc50.csv"
    clips, sha256 = read_clips(path, choose("subset", subset, ("esc50", "esc10")))
    choose("fold", fold, ("all", *FOLDS))
    clips = [clip for clip in clips if fold in ("all", clip.fold)]
    pairs = [(clip, partner(clip, clips)) for clip in clips]
    check_files((clip.file for clip in clips), data)
    return PublishedItems(
        name={"esc50": "ESC-50", "esc10": "ESC-10"}[subset],
        manifest_sha256=sha256,
        condition=condition if fold == "all" else f"fold {fold}",
        ids=tuple(f"{clip.fold}/{Path(clip.file).stem}" for clip in clips),
        item_queries=tuple(item_query(*pair) for pair in pairs),
        make=lambda index: render(*pairs[index], data),
        publication=Publication(average=average),
    )


def read_clips(path: Path, subset: str) -> tuple[list[Clip], str]:
    """The clips of a subset and the list's SHA-256; ValueError for a bad list or one without clips."""
    rows, sha256 = read_list(path)
    missing = [column for column in COLUMNS if column not in rows[0]]
    if missing:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}")
    body = without_header(path, rows, len(rows[0]))
    records = [dict(zip(rows[0], row, strict=True)) for row in body]
    clips = [
        Clip(f"audio/{record['filename']}", record["fold"], record["category"])
        for record in records
        if subset == "esc50" or record["esc10"] == "True"
    ]
    if not clips:
        raise ValueError(f"{path}: no clips of {subset}")
    return clips, sha256


def partner(clip: Clip, clips: Sequence[Clip]) -> Clip:
    """The clip mixed with this one: of another category in the same fold, independent of the other folds."""
    others = sorted(o for o in clips if o.fold == clip.fold and o.category != clip.category)
    if not others:
        raise ValueError(f"fold {clip.fold} has no category but {clip.category}")
    draw = int.from_bytes(hashlib.sha256(Path(clip.file).name.encode()).digest()[:8])
    return others[draw % len(others)]


def item_query(clip: Clip, other: Clip) -> ItemQuery:
    """Query and labels of an item of two clips."""
    return ItemQuery(clip.category.replace("_", " "), clip.category, (other.category,))


def render(clip: Clip, other: Clip, data: Path) -> Item:
    """The clip and the other one at 0 dB SNR, all divided by the mixture's peak if it exceeds 1.

    Raises ValueError for clips of unequal length or silent ones.
    """
    target, rest = (read_mono(data / c.file, SAMPLE_RATE) for c in (clip, other))
    if len(target) != len(rest):
        raise ValueError(f"{clip.file} has {len(target)} samples and {other.file} has {len(rest)}")
    powers = [float(np.mean(signal.astype(np.float64) ** 2)) for signal in (target, rest)]
    if not all(powers):
        raise ValueError(
            f"{other.file if powers[0] else clip.file} is silent, so no SNR can be set"
        )
    rest = rest * np.float32((powers[0] / powers[1]) ** 0.5)
    peak = np.float32(max(1.0, float(np.abs(target + rest).max())))
    query, label, others = item_query(clip, other)
    item_id = f"{clip.fold}/{Path(clip.file).stem}"
    mixture, target, rest = ((signal / peak) for signal in (target + rest, target, rest))
    return Item(item_id, query, label, mixture, target, rest, SAMPLE_RATE, others)


def average(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The means of each fold, and their mean over folds."""
    folds = sorted({row["id"].partition("/")[0] for row in rows})
    figures = {
        fold: mean_of([row for row in rows if row["id"].startswith(f"{fold}/")], FIGURES)
        for fold in folds
    }
    named = {f"{name}, fold {fold}": v for fold in folds for name, v in figures[fold].items()}
    means = {
        name: float(np.mean([figures[fold][name] for fold in folds if name in figures[fold]]))
        for name in FIGURES
        if any(name in figures[fold] for fold in folds)
    }
    return named | means

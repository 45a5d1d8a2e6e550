"""AudioSep's benchmark (Liu et al. 2023, "Separate anything you describe"): six sets of mixture files.

The data folder is the `evaluation` folder of the authors' repository with their recordings in it:
metadata/SET_eval.csv and data/SET. Mono at 32 kHz. The publication reports the improvement of the plain SDR
and SI-SDR itself (not its improvement): means over items, over instruments for MUSIC, and for AudioSet the
mean over classes of each class's median.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..interface import Figures
from ..items.premixed import Pair, class_folders, class_names, premixed
from ..items.published import PublishedItems, choose, mean_of, mean_of_classes
from ..items.recordings import read_list, without_header

CONDITIONS = ("plain",)
SAMPLE_RATE = 32000
PER_CLASS = 10  # of AudioSet
COLUMNS = {"SDRi": "sdr_i", "SI-SDR": "uncentred_si_sdr"}


class Set(NamedTuple):
    """A set's name, number of items and number of list columns; average: of rows, as the authors average."""

    name: str
    num_items: int
    num_columns: int
    average: Callable[[Sequence[Mapping[str, Any]]], Figures]


over_items = partial(mean_of, columns=COLUMNS)
SETS = {
    "vggsound": Set("VGGSound", 1000, 6, over_items),
    "audioset": Set(
        "AudioSet", 5270, 0, partial(mean_of_classes, columns=COLUMNS, within=np.median)
    ),
    "music": Set("MUSIC", 5004, 4, partial(mean_of_classes, columns=COLUMNS, within=np.mean)),
    "esc50": Set("ESC-50", 2000, 4, over_items),
    "audiocaps": Set("AudioCaps", 4820, 5, over_items),
    "clotho": Set("Clotho", 5225, 5, over_items),
}
LABELLED = ("vggsound", "music", "esc50")  # the others' queries are captions, not labels


def load(
    data: Path, manifest: Path | None = None, condition: str = "plain", set: str = "vggsound"
) -> PublishedItems:
    """Items of a set, one of SETS. manifest: another list in the format of the set's list.

    Raises ValueError for an unknown set or a bad list, FileNotFoundError for missing files.
    """
    facts = SETS[choose("set", set, tuple(SETS))]
    if set == "audioset":
        if manifest is not None:
            raise ValueError("audioset has no list of items; they are its folders' files")
        names = class_names(data / "metadata" / "class_labels_indices.csv")
        pairs, sha256 = class_folders(data, "data/audioset", PER_CLASS, names)
    else:
        path = manifest or data / "metadata" / f"{set}_eval.csv"
        rows, sha256 = read_list(path)
        pairs = [pair_of(set, row) for row in without_header(path, rows, facts.num_columns)]
    complete = len(pairs) == facts.num_items
    name = f"AudioSep {facts.name}" + ("" if complete else f", {len(pairs)} of {facts.num_items}")
    return premixed(name, sha256, condition, pairs, data, SAMPLE_RATE, facts.average)


def pair_of(set: str, row: list[str]) -> Pair:
    """The pair of a list's row: VGGSound lists files, other sets the ID of segment-ID and mixture-ID.

    The columns after an ID and its caption are those that the mixtures were made from; no score needs them.
    """
    if set == "vggsound":
        _, mixture, source, query, *_ = row
    else:
        item_id, query, *_ = row
        mixture, source = f"mixture-{item_id}.wav", f"segment-{item_id}.wav"
    label = query if set in LABELLED else ""
    return Pair(f"data/{set}/{mixture}", f"data/{set}/{source}", query, label)

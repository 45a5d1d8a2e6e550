"""Evaluation of universal source separation (Kong et al. 2023): the mean over classes of each class's median.

The data folder holds WORD=CLASS/NAMEmixture.wav and NAMEsource.wav as the authors' scripts write them for
AudioSet, FSDKaggle2018, FSD50K and Slakh2100, 100 of 2 s per class. Mono at 32 kHz. Figures: the plain SDR
and its improvement. (The authors' released script stops after the first item of each class.)
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from qsep.queries.interface import AudioQuery

from ..items.premixed import Pair, class_folders, class_names, premixed
from ..items.published import PublishedItems, mean_of_classes

CONDITIONS = ("plain", "examples")  # queries: the class's name, or recordings of the class
SAMPLE_RATE = 32000
COLUMNS = {"SDR": "sdr", "SDRi": "sdr_i"}


def load(
    data: Path,
    manifest: Path | None = None,
    condition: str = "plain",
    per_class: str = "100",
    queries: str = "",
) -> PublishedItems:
    """Items of the class folders in data, at most per_class of each.

    manifest: class_labels_indices.csv, for numbered folders. queries: for the condition examples, a folder
    with training clips CLASS/*.wav. Raises ValueError for a bad setting, FileNotFoundError for missing files.
    """
    if not per_class.isdigit() or int(per_class) < 1:
        raise ValueError(f"per_class={per_class!r}; expected a whole number of 1 or more")
    if (condition == "examples") != bool(queries):
        raise ValueError("give queries=FOLDER with --condition examples, and only with it")
    names = class_names(manifest) if manifest else {}
    pairs, sha256 = class_folders(data, ".", int(per_class), names)
    clips = {
        label: examples_of(Path(queries), label) for label in {p.label for p in pairs} if queries
    }

    def example(pair: Pair) -> AudioQuery | None:
        return AudioQuery(*clips[pair.label]) if clips else None

    average = partial(mean_of_classes, columns=COLUMNS, within=np.median)
    num_classes = len({pair.label for pair in pairs})
    name = f"USS, {num_classes} classes"
    return premixed(name, sha256, condition, pairs, data, SAMPLE_RATE, average, example)


def examples_of(folder: Path, label: str) -> list[Path]:
    """The recordings folder/label/*.wav, sorted; FileNotFoundError if there are none."""
    recordings = sorted((folder / label).glob("*.wav"))
    if not recordings:
        raise FileNotFoundError(f"{folder / label}: no recordings (*.wav) to use as queries")
    return recordings

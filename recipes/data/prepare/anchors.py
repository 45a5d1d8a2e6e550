"""Anchor segments (Kong et al. 2023, "Universal source separation with weakly labelled data", sec. III-A).

A clip's label says what sounds, but not when. A sound event detector gives the time of highest probability;
two seconds around it contain the labelled sound more often than two random seconds.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qsep.queries.audioset import class_nodes
from qsep.queries.encoders.panns import digest
from qsep.queries.files.json_files import json_content
from qsep.queries.media import media_file, read_recording
from qsep.queries.networks.cnn14 import HOP_SAMPLES, SAMPLE_RATE, Cnn14
from qsep.queries.networks.cnn14_events import ANCHOR_FRAMES, activity, anchor_start, load_detector
from qsep.separation.storage.results import Results

from ..mixtures.segments import read_captions
from .caption_lists import SPLITS, Fault, Item, list_text
from .videos import write_report

LOG_FILE = ".anchors.jsonl"
PROBLEMS = {
    "unlabelled": "neither a label nor the caption is a class of AudioSet",
    "unreadable": "damaged, or without audio",
    "short": "shorter than a second, which training does not use",
}
Anchors = dict[str, tuple[float, float]]  # by label: start in seconds, and mean probability there


@dataclass(frozen=True)
class Mined:
    """segments: number in each list, one per recording and label. problems: number of recordings with each of
    PROBLEMS, listed in the file `report`."""

    segments: dict[str, int]
    problems: dict[str, int]
    report: Path


def find_anchors(
    folder: Path,
    out: Path,
    detector_path: Path,
    min_probability: float = 0.0,
    progress: Callable[[float, float], object] | None = None,
) -> Mined:
    """Write lists like those in `folder` into `out`, with an item and its start for each label of a
    recording.

    detector_path: weights of PANNs' Cnn14_DecisionLevelMax. min_probability: anchors with a lower mean
    probability are left out. progress: called with (recordings done, recordings in all). A repeated run
    continues an interrupted one. Raises ValueError for missing lists or weights, and if `out` is not ours
    (see `Results`).
    """
    if out.resolve() == folder.resolve():
        raise ValueError(
            f"{out}: the anchors would replace its lists: choose another folder with -o"
        )
    lists = {split: read_items(folder, split) for split in SPLITS}
    if not any(lists.values()):
        raise ValueError(f"{folder}: no train.json; `qsep data captions` makes it")
    if not detector_path.is_file():
        raise ValueError(
            f"{detector_path}: no such file: give the weights of Cnn14_DecisionLevelMax"
        )
    results = Results(out, "data anchors")
    detector = load_detector(detector_path)
    log = AnchorLog(results.grow(LOG_FILE), digest(detector_path))
    faults: list[Fault] = []
    num_items, num_done = sum(map(len, lists.values())), 0
    mined: dict[str, list[Item]] = {split: [] for split in SPLITS}
    for split, items in lists.items():
        for item in items:
            file = folder / item["wav"]
            result = anchors_of(file, labels_of(item), detector, log)
            if isinstance(result, str):
                faults.append((item["wav"], result, PROBLEMS[result]))
            else:
                mined[split] += [
                    anchored(item, file, out, label, *anchor)
                    for label, anchor in result.items()
                    if anchor[1] >= min_probability
                ]
            num_done += 1
            if progress:
                progress(num_done, num_items)
    for split, anchors in mined.items():
        results.write_text(f"{split}.json", list_text(anchors))
    report = write_report(results, faults)
    counts = {split: len(anchors) for split, anchors in mined.items()}
    return Mined(counts, dict(Counter(fault[1] for fault in faults)), report)


def read_items(folder: Path, split: str) -> list[Item]:
    """The items of folder/SPLIT.json; none if there is no such list. Raises ValueError as `read_captions`."""
    if not (folder / f"{split}.json").is_file():
        return []
    read_captions(folder, split, min_clips=0)  # checks the list and its files
    items: list[Item] = json_content(folder / f"{split}.json")["data"]
    return items


def labels_of(item: Mapping[str, Any]) -> dict[str, int]:
    """The AudioSet classes among an item's labels, or its caption: their names and indices."""
    numbers = {node.name.casefold(): node.index or 0 for node in class_nodes()}
    named = [str(label) for label in item.get("labels") or [item["caption"]]]
    return {name: numbers[name.casefold()] for name in named if name.casefold() in numbers}


def anchors_of(
    file: Path, labels: Mapping[str, int], detector: Cnn14, log: AnchorLog
) -> Anchors | str:
    """The anchor of each label, or a key of PROBLEMS. labels: indices of classes by name."""
    if not labels:
        return "unlabelled"
    known = log.known(file, labels)
    if known is not None:
        return known
    try:
        waveform = torch.from_numpy(read_recording(media_file(file), SAMPLE_RATE))
    except (ValueError, OSError):
        return "unreadable"
    if len(waveform) < SAMPLE_RATE:
        return "short"
    probabilities = activity(detector, waveform)
    anchors: Anchors = {}
    for label, number in labels.items():
        start = anchor_start(probabilities[:, number])
        probability = float(
            np.mean(probabilities[start : start + ANCHOR_FRAMES + 1, number].numpy())
        )
        anchors[label] = round(start * HOP_SAMPLES / SAMPLE_RATE, 2), round(probability, 4)
    log.note(file, anchors)
    return anchors


def anchored(
    item: Item, file: Path, out: Path, label: str, start: float, probability: float
) -> Item:
    """An item of a list in `out` for one label of a recording."""
    wav = Path(os.path.relpath(file.resolve(), out.resolve())).as_posix()
    rest = {key: value for key, value in item.items() if key not in ("captions", "labels")}
    return rest | {"wav": wav, "caption": label, "start": start, "probability": probability}


class AnchorLog:
    """A log of anchors, one recording per line, from which an interrupted run continues.

    Ignored are incomplete lines, recordings that have changed, and anchors of another detector.
    """

    def __init__(self, path: Path, detector: str) -> None:
        self.path, self.detector = path, detector
        self.rows: dict[str, Anchors] = {}
        for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
            try:
                row = json.loads(line)
                anchors = {label: (float(a), float(b)) for label, (a, b) in row["anchors"].items()}
                self.rows.setdefault(row["key"], {}).update(anchors)
            except (ValueError, KeyError, TypeError, AttributeError):
                continue

    def key(self, file: Path) -> str:
        """Identifies the detector and the state of a recording."""
        state = file.stat()
        return f"{self.detector} {file.resolve()} {state.st_size} {state.st_mtime_ns}"

    def known(self, file: Path, labels: Mapping[str, int]) -> Anchors | None:
        """The anchors of these labels, if all are in the log."""
        row = self.rows.get(self.key(file), {})
        return {label: row[label] for label in labels} if labels.keys() <= row.keys() else None

    def note(self, file: Path, anchors: Anchors) -> None:
        """Append the anchors of a recording."""
        with self.path.open("a", encoding="utf-8") as log:
            log.write(json.dumps({"key": self.key(file), "anchors": anchors}) + "\n")

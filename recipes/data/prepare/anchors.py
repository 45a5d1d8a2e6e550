"""Anchor segments (Kong et al. 2023, "Universal source separation with weakly labelled data", sec. III-A).

A clip's label says that something sounds, not when. A detector of sound events says when it is surest, and
training on the two seconds around that hears the label's sound more often than on any two seconds.
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
from qsep.queries.media import media_file, read_recording
from qsep.queries.networks.cnn14 import HOP_SAMPLES, SAMPLE_RATE, Cnn14
from qsep.queries.networks.cnn14_events import ANCHOR_FRAMES, activity, anchor_start, load_detector

from ..mixtures.segments import read_captions
from .caption_lists import SPLITS, Fault, Item, write_list
from .videos import write_report

LOG_FILE = ".anchors.jsonl"
PROBLEMS = {
    "unlabelled": "no label or caption is the name of a class of AudioSet",
    "unreadable": "no audio that can be heard",
    "short": "shorter than a second, which training replaces by another",
}
Anchors = dict[str, tuple[float, float]]  # by label: start in seconds, mean probability there


@dataclass(frozen=True)
class Mined:
    """segments: how many each list has, one a recording and label. problems: how many recordings of each
    kind, listed in the file report."""

    segments: dict[str, int]
    problems: dict[str, int]
    report: Path


def mine(
    folder: Path,
    out: Path,
    detector_path: Path,
    min_probability: float = 0.0,
    progress: Callable[[float, float], object] | None = None,
) -> Mined:
    """Lists in `out` like those in `folder`, with an item for each label of a recording: its start.

    min_probability: anchors with a lower mean probability are left out. Running it again hears what is left.
    """
    if out.resolve() == folder.resolve():
        raise ValueError(f"{out}: the anchors would replace its lists; name another folder with -o")
    lists = {split: read_items(folder, split) for split in SPLITS}
    if not any(lists.values()):
        raise ValueError(f"{folder}: no train.json; `qsep data captions` makes it")
    if not detector_path.is_file():
        raise ValueError(f"{detector_path}: no such file; give Cnn14_DecisionLevelMax's weights")
    detector = load_detector(detector_path)
    out.mkdir(parents=True, exist_ok=True)
    log = AnchorLog(out / LOG_FILE, digest(detector_path))
    faults: list[Fault] = []
    num_items, num_done = sum(map(len, lists.values())), 0
    mined: dict[str, list[Item]] = {split: [] for split in SPLITS}
    for split, items in lists.items():
        for item in items:
            file = folder / item["wav"]
            found = anchors_of(file, labels_of(item), detector, log)
            if isinstance(found, str):
                faults.append((item["wav"], found, PROBLEMS[found]))
            else:
                mined[split] += [
                    anchored(item, file, out, label, *anchor)
                    for label, anchor in found.items()
                    if anchor[1] >= min_probability
                ]
            num_done += 1
            if progress:
                progress(num_done, num_items)
    for split, anchors in mined.items():
        write_list(out / f"{split}.json", anchors)
    write_report(out / "report.csv", faults)
    counts = {split: len(anchors) for split, anchors in mined.items()}
    return Mined(counts, dict(Counter(fault[1] for fault in faults)), out / "report.csv")


def read_items(folder: Path, split: str) -> list[Item]:
    if not (folder / f"{split}.json").is_file():
        return []
    read_captions(folder, split, min_clips=0)  # that it is such a list, and its files are there
    items: list[Item] = json.loads((folder / f"{split}.json").read_text("utf-8"))["data"]
    return items


def labels_of(item: Mapping[str, Any]) -> dict[str, int]:
    """Names and numbers of AudioSet's classes among the labels of an item, or its caption."""
    numbers = {node.name.casefold(): node.index or 0 for node in class_nodes()}
    named = [str(label) for label in item.get("labels") or [item["caption"]]]
    return {name: numbers[name.casefold()] for name in named if name.casefold() in numbers}


def anchors_of(
    file: Path, labels: Mapping[str, int], detector: Cnn14, log: AnchorLog
) -> Anchors | str:
    """One for each label, or the problem."""
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
        sure = float(np.mean(probabilities[start : start + ANCHOR_FRAMES + 1, number].numpy()))
        anchors[label] = round(start * HOP_SAMPLES / SAMPLE_RATE, 2), round(sure, 4)
    log.note(file, anchors)
    return anchors


def anchored(item: Item, file: Path, out: Path, label: str, start: float, sure: float) -> Item:
    """The item as a list in `out` has it, of one label."""
    wav = Path(os.path.relpath(file.resolve(), out.resolve())).as_posix()
    rest = {key: value for key, value in item.items() if key not in ("captions", "labels")}
    return rest | {"wav": wav, "caption": label, "start": start, "probability": sure}


class AnchorLog:
    """What has been heard, line by line, so that an interrupted run goes on. A line that was cut off, a
    recording that has changed and another detector's anchors count for nothing."""

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
        state = file.stat()
        return f"{self.detector} {file.resolve()} {state.st_size} {state.st_mtime_ns}"

    def known(self, file: Path, labels: Mapping[str, int]) -> Anchors | None:
        row = self.rows.get(self.key(file), {})
        return {label: row[label] for label in labels} if labels.keys() <= row.keys() else None

    def note(self, file: Path, anchors: Anchors) -> None:
        with self.path.open("a", encoding="utf-8") as log:
            log.write(json.dumps({"key": self.key(file), "anchors": anchors}) + "\n")

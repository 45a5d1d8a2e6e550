"""A training corpus from one's own labelled recordings:

audio/SPLIT/LABEL/NAME.flac   one channel, 16 bits, at most 32 kHz
clips.csv                     a row per clip: CLIP_COLUMNS
phrases.toml                  the phrase book; meant to be edited, never overwritten
report.csv                    every fault
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from qsep.separation.audio.encoding import encode_file
from qsep.separation.audio.file_names import slug
from qsep.separation.storage.csv_cells import inert
from qsep.separation.storage.results import Results

from .faults import DOUBTFUL, FATAL, Examined, Fault, examine
from .measuring import Facts, measure_all, read_mono
from .phrase_book import book_text
from .recordings import DETAILS, Recording
from .splits import draw_splits, whole_groups

MAX_RATE_HZ = 32000
CLIP_COLUMNS = (
    *("file", "label", "split", "group", "seconds", "sample_rate", "active_fraction"),
    *DETAILS,
)
COMMAND = "data folder"
Progress = Callable[[float, float], object] | None


@dataclass(frozen=True)
class SplitRule:
    """How recordings are split where their list does not say.

    shares: of each label's recordings that go to "dev" and "test", in [0, 1]. by_group: whether groups stay
    together; recordings with the same content always do. seed: of the random order of groups.
    """

    shares: Mapping[str, float]
    by_group: bool = True
    seed: int = 0


@dataclass(frozen=True)
class CorpusSummary:
    """clips: number for each (label, split). faults: number of each kind, listed in the file `report`."""

    clips: Mapping[tuple[str, str], int]
    faults: Mapping[str, int]
    report: Path


def make_corpus(
    recordings: Sequence[Recording],
    out: Path,
    rule: SplitRule,
    num_jobs: int,
    progress: Progress = None,
) -> CorpusSummary:
    """Write the corpus into `out`; recordings with fatal faults are left out and listed in the report.

    num_jobs: recordings decoded in parallel. progress: called with (recordings done, recordings in all).
    Raises ValueError if no recording is usable or a label has none in train.
    """
    results = Results(out, COMMAND)
    facts = measure_all((recording.path for recording in recordings), num_jobs, progress)
    examined = examine(recordings, facts)
    usable = [recording for recording, _ in examined.usable]
    groups = group_names(examined, rule.by_group)
    splits, contradictions = assign(usable, groups, rule)
    faults = [*examined.faults, *contradictions]
    report = results.write_text("report.csv", report_text(faults))
    if not usable:
        raise ValueError(f"none of the {len(recordings)} recordings can be used; {report} says why")
    rows = [
        write_clip(results, recording, facts, split, group)
        for (recording, facts), split, group in zip(examined.usable, splits, groups, strict=True)
    ]
    labels = sorted({row["label"] for row in rows})
    trained = {row["label"] for row in rows if row["split"] == "train"}
    if lacking := [label for label in labels if label not in trained]:
        raise ValueError(f"{lacking[0]!r} has no recording in train; {report} says why")
    results.write_text("clips.csv", table_text(CLIP_COLUMNS, rows))
    results.remove(sorted(stale(results, rows)))
    if not (out / "phrases.toml").exists():
        results.write_text("phrases.toml", book_text(labels))
    counts = Counter((row["label"], row["split"]) for row in rows)
    return CorpusSummary(counts, Counter(fault.fault for fault in faults), report)


def group_names(examined: Examined, by_group: bool = True) -> list[str]:
    """For each usable recording the name of the group that must stay in one split with it.

    Names do not depend on paths, so that splits are the same on every machine.
    """
    usable = examined.usable
    same = [(match.first, match.second) for match in examined.matches]
    roots = whole_groups([recording.group if by_group else "" for recording, _ in usable], same)
    firsts = [usable[root] for root in roots]
    return [r.group if by_group and r.group else single_group(r, facts) for r, facts in firsts]


def single_group(recording: Recording, facts: Facts) -> str:
    """The group of a recording without one."""
    return f"{recording.path.stem}-{facts.digest[:8]}"


def assign(
    usable: Sequence[Recording], groups: Sequence[str], rule: SplitRule
) -> tuple[list[str], list[Fault]]:
    """The split of each recording, and the faults where the list's own splits divide a group."""
    if not any(recording.split for recording in usable):
        labels = [recording.label for recording in usable]
        return draw_splits(labels, groups, rule.shares, rule.seed), []
    return [recording.split for recording in usable], leaks_between_splits(usable, groups)


def leaks_between_splits(recordings: Sequence[Recording], groups: Sequence[str]) -> list[Fault]:
    """A fault for each recording that is in another split than the first of its group."""
    firsts: dict[str, Recording] = {}
    faults = []
    for recording, group in zip(recordings, groups, strict=True):
        first = firsts.setdefault(group, recording)
        if first.split != recording.split:
            remark = f"{recording.split}, but {first.path} is in {first.split}"
            faults.append(Fault(str(recording.path), "in two splits", remark))
    return faults


def write_clip(
    results: Results, recording: Recording, facts: Facts, split: str, group: str
) -> dict[str, Any]:
    """Write a recording as FLAC, unless an earlier run did, and return its row of clips.csv."""
    name = f"{slug(recording.path.stem)[:40]}-{facts.digest[:8]}.flac"
    file = f"audio/{split}/{recording.label}/{name}"
    rate = min(facts.sample_rate, MAX_RATE_HZ)
    if not results.is_ours(file):
        mono, source_rate, _ = read_mono(recording.path)
        if rate != source_rate:
            mono = soxr.resample(mono, source_rate, rate, quality="HQ")
        mono = mono / max(1.0, float(np.abs(mono).max()))
        results.write(file, lambda path: encode_file(path, mono, rate, "PCM_16", "FLAC"))
    return dict(recording.details) | {
        "file": file,
        "label": recording.label,
        "split": split,
        "group": group,
        "seconds": facts.seconds,
        "sample_rate": rate,
        "active_fraction": round(facts.active, 3),
    }


def stale(results: Results, rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Recordings that earlier runs wrote and the list no longer contains."""
    return {name for name in results.entries if name.startswith("audio/")} - {
        row["file"] for row in rows
    }


def by_gravity(faults: Sequence[Fault]) -> list[Fault]:
    """The faults, the fatal ones first."""
    order = [*FATAL, *DOUBTFUL]
    return sorted(faults, key=lambda fault: (order.index(fault.fault), fault.file))


def report_text(faults: Sequence[Fault]) -> str:
    """The faults as CSV, the fatal ones first."""
    return table_text(Fault._fields, [fault._asdict() for fault in by_gravity(faults)])


def table_text(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV with a header."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(inert(row.get(column, "") for column in columns) for row in rows)
    return file.getvalue()

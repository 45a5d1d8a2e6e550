"""From recordings that somebody has to a folder to train on and to measure by.

audio/SPLIT/LABEL/NAME.flac   one channel, 16 bits, at most 32 kHz
clips.csv                     the list: CLIP_COLUMNS
phrases.toml                  how the labels are asked for; to be edited, and never written over
report.csv                    every fault that was found
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
import soundfile
import soxr

from qsep.separation.audio.file_names import slug
from qsep.separation.storage.results import Results

from .faults import DOUBTFUL, FATAL, Examined, Fault, examine
from .hearing import Facts, hear_all, read_mono
from .intake import DETAILS, Recording
from .splits import draw_splits, whole_groups
from .wordings import book_text

MAX_RATE_HZ = 32000
CLIP_COLUMNS = (
    *("file", "label", "split", "group", "seconds", "sample_rate", "active_fraction"),
    *DETAILS,
)
COMMAND = "data folder"
Progress = Callable[[float, float], object] | None


@dataclass(frozen=True)
class SplitRule:
    """shares: of "dev" and "test", of each label's recordings, where the list gives no splits. by_group:
    whole groups stay together, else each recording is drawn for itself. Equal content always does."""

    shares: Mapping[str, float]
    by_group: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Made:
    """clips: how many of each (label, split); faults: how many of each."""

    clips: Mapping[tuple[str, str], int]
    faults: Mapping[str, int]
    report: Path


def make_corpus(
    recordings: Sequence[Recording],
    out: Path,
    rule: SplitRule,
    num_jobs: int,
    progress: Progress = None,
) -> Made:
    """Write the folder. Recordings that nothing can be learned from are left out, and listed in the report.

    ValueError where nothing is left, or a label has none to train on.
    """
    results = Results(out, COMMAND)
    heard = hear_all((recording.path for recording in recordings), num_jobs, progress)
    examined = examine(recordings, heard)
    kept = [recording for recording, _ in examined.kept]
    groups = group_names(examined, rule.by_group)
    splits, contradictions = assign(kept, groups, rule)
    faults = [*examined.faults, *contradictions]
    report = results.write_text("report.csv", report_text(faults))
    if not kept:
        raise ValueError(f"none of the {len(recordings)} recordings can be used; {report} says why")
    rows = [
        write_clip(results, recording, facts, split, group)
        for (recording, facts), split, group in zip(examined.kept, splits, groups, strict=True)
    ]
    labels = sorted({row["label"] for row in rows})
    trained = {row["label"] for row in rows if row["split"] == "train"}
    if lacking := [label for label in labels if label not in trained]:
        raise ValueError(f"{lacking[0]!r} has no recording to train on; {report} says why")
    results.write_text("clips.csv", table_text(CLIP_COLUMNS, rows))
    results.remove(sorted(stale(results, rows)))
    if not (out / "phrases.toml").exists():
        results.write_text("phrases.toml", book_text(labels))
    counts = Counter((row["label"], row["split"]) for row in rows)
    return Made(counts, Counter(fault.fault for fault in faults), report)


def group_names(examined: Examined, by_group: bool = True) -> list[str]:
    """Of each recording kept, what it must stay together with: the name of a group, or of one recording.

    These do not tell where files lie, so that splits are the same on every machine.
    """
    kept = examined.kept
    same = [(match.first, match.second) for match in examined.matches]
    roots = whole_groups([recording.group if by_group else "" for recording, _ in kept], same)
    firsts = [kept[root] for root in roots]
    return [r.group if by_group and r.group else own_group(r, facts) for r, facts in firsts]


def own_group(recording: Recording, facts: Facts) -> str:
    return f"{recording.path.stem}-{facts.digest[:8]}"


def assign(
    kept: Sequence[Recording], groups: Sequence[str], rule: SplitRule
) -> tuple[list[str], list[Fault]]:
    """The split of each recording, and where splits that were given part what belongs together."""
    if not any(recording.split for recording in kept):
        labels = [recording.label for recording in kept]
        return draw_splits(labels, groups, rule.shares, rule.seed), []
    return [recording.split for recording in kept], parted(kept, groups)


def parted(kept: Sequence[Recording], groups: Sequence[str]) -> list[Fault]:
    """Recordings that are in another split than the first of their group."""
    firsts: dict[str, Recording] = {}
    faults = []
    for recording, group in zip(kept, groups, strict=True):
        first = firsts.setdefault(group, recording)
        if first.split != recording.split:
            remark = f"{recording.split}, but {first.path} is in {first.split}"
            faults.append(Fault(str(recording.path), "in two splits", remark))
    return faults


def write_clip(
    results: Results, recording: Recording, facts: Facts, split: str, group: str
) -> dict[str, Any]:
    """Its row of the list. What an earlier run wrote of the same samples stays."""
    name = f"{slug(recording.path.stem)[:40]}-{facts.digest[:8]}.flac"
    file = f"audio/{split}/{recording.label}/{name}"
    rate = min(facts.sample_rate, MAX_RATE_HZ)
    if not results.is_ours(file):
        mono, given_rate, _ = read_mono(recording.path)
        if rate != given_rate:
            mono = soxr.resample(mono, given_rate, rate, quality="HQ")
        mono = mono / max(1.0, float(np.abs(mono).max()))
        results.write(file, lambda path: soundfile.write(path, mono, rate, "PCM_16", format="FLAC"))
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
    """Recordings that earlier runs wrote and this list no longer names."""
    return {name for name in results.entries if name.startswith("audio/")} - {
        row["file"] for row in rows
    }


def report_text(faults: Sequence[Fault]) -> str:
    order = [*FATAL, *DOUBTFUL]
    rows = sorted(faults, key=lambda fault: (order.index(fault.fault), fault.file))
    return table_text(Fault._fields, [fault._asdict() for fault in rows])


def table_text(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()

"""Every sound of a recording in a file of its own: detected, then separated, in two passes over it."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsep.separation.audio.arrays import energy, level_db
from qsep.separation.audio.file_names import result_names
from qsep.separation.audio.reader import AudioReader
from qsep.separation.audio.sample_format import split
from qsep.separation.audio.writer import AudioWriter
from qsep.separation.detection.activity import Activity
from qsep.separation.detection.hierarchy import LEAF, Group, Level
from qsep.separation.detection.nodes import NodeSeparator
from qsep.separation.inference.chunks import BLOCK_SAMPLES
from qsep.separation.storage.results import Results

from .batch import check_jobs, progress_bar, refuse_existing, report_failure
from .output import Output
from .timeline import draw_timeline

log = logging.getLogger("qsep")

MIN_DB = -200.0
Progress = Callable[[float, float | None], object]


@dataclass(frozen=True)
class Task:
    """levels: of the hierarchy, in the order in which nodes are listed."""

    output: Output
    levels: tuple[Level, ...]

    @property
    def out(self) -> Path:
        return self.output.folder

    @cached_property
    def results(self) -> Results:
        return Results(self.out, "auto", shared=True)

    def summary(self, path: Path) -> Path:
        return self.out / f"{path.stem}.auto.json"

    def picture(self, path: Path) -> Path:
        return self.out / f"{path.stem}.auto.png"

    def target(self, path: Path, group: Group) -> Path:
        return self.out / result_names(path.stem, group.name, residual=False)[0]


def parse_levels(levels: Sequence[str]) -> tuple[Level, ...]:
    """ "1", "2" … and "leaf"; ValueError for anything else."""
    found: list[Level] = []
    for level in levels:
        if level != LEAF and not (level.isdecimal() and int(level) >= 1):
            raise ValueError(f"--level {level!r}: expected 1, 2, 3 … or {LEAF}")
        found.append(level if level == LEAF else int(level))
    return tuple(dict.fromkeys(found))


def check_inputs(inputs: Sequence[Path], task: Task) -> None:
    """Raise ValueError for what is wrong before any work."""
    results = check_jobs(inputs, [], task.output, command="auto")
    stems: dict[str, Path] = {}
    for path in inputs:
        if (other := stems.setdefault(path.stem, path)) != path:
            raise ValueError(f"{other} and {path} would be written to one: take two runs")
    files = [file for path in inputs for file in (task.summary(path), task.picture(path))]
    refuse_existing(files, inputs, task.output, results)


def separate_all(separator: NodeSeparator, inputs: Sequence[Path], task: Task) -> bool:
    """Write each input's sounds and say so; False if some input failed."""
    from .level_words import level_in_words

    task.out.mkdir(parents=True, exist_ok=True)
    all_done = True
    for path in inputs:
        try:
            with progress_bar(path.name) as progress:
                summary = separate_sounds(separator, path, inputs, task, progress)
        except Exception as error:  # whatever is wrong with one file, the others go on
            all_done = False
            report_failure(path, error, task.output.json)
            continue
        if task.output.json:
            print(json.dumps(summary))
            continue
        for sound in summary["sounds"]:
            spans = ", ".join(f"{start:.1f}-{end:.1f}" for start, end in sound["spans"][:4])
            more = " …" if len(sound["spans"]) > 4 else ""
            print(
                f"{sound['file']}  {sound['probability']:.2f}, {sound['level_db']:.1f} dB of the input "
                f"({level_in_words(sound['level_db'])}), at {spans}{more} s"
            )
        if not summary["sounds"]:
            print(f"{path}: nothing found")
        print(task.summary(path))
    return all_done


def separate_sounds(
    separator: NodeSeparator,
    path: Path,
    inputs: Sequence[Path],
    task: Task,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """One recording: a file a node, then the summary, which it returns, and the picture.

    Nothing is left behind if anything fails before the summary. inputs: files not to be written over.
    """
    with AudioReader(path) as reader:
        blocks = counted(reader, progress, 0.0)
        activity = separator.detect(blocks, reader.sample_rate)
    groups = activity.groups(task.levels)
    files = {task.target(path, group): group for group in groups}
    if len(files) < len(groups):
        raise ValueError(f"{path}: two nodes would be written to one file; choose fewer levels")
    results = task.results
    refuse_existing(files, inputs, task.output, results)
    previous = written_before(task.summary(path), task.out)
    levels = (
        write_targets(separator, path, files, activity, progress, results.commit) if files else []
    )
    summary = {
        "input": str(path),
        "seconds": round(activity.seconds, 3),
        "model": separator.model.name,
        "detector": "model" if separator.tagger is None else "tagger",
        "threshold": activity.threshold,
        "step_seconds": activity.step_seconds,
        "sounds": [
            described(activity, group, file, level)
            for (file, group), level in zip(files.items(), levels, strict=True)
        ],
    }
    text = json.dumps(summary, indent=1, ensure_ascii=False) + "\n"
    results.write_text(results.name_of(task.summary(path)), text)
    kept = {each.resolve() for each in inputs}
    stale = [file for file in previous - files.keys() if file.resolve() not in kept]
    # Sounds that are no longer found, and the picture of before.
    results.remove(results.name_of(file) for file in (*stale, task.picture(path)))
    if groups and find_spec("matplotlib"):
        draw_timeline(activity, groups, task.picture(path), results.commit)
    elif groups:
        log.warning("no timeline: pip install 'qsep[train]' brings matplotlib")
    return summary


def written_before(summary: Path, out: Path) -> set[Path]:
    """The sounds' files in `out` of an earlier run, as its summary lists them."""
    try:
        sounds = json.loads(summary.read_text("utf-8"))["sounds"]
        files = {out / Path(sound["file"]).name for sound in sounds}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    prefix = summary.name.removesuffix("auto.json")
    return {file for file in files if file.name.startswith(prefix) and file.suffix == ".wav"}


def write_targets(
    separator: NodeSeparator,
    path: Path,
    files: dict[Path, Group],
    activity: Activity,
    progress: Progress | None,
    commit: Callable[[Path, Path], object],
) -> list[float]:
    """Each in the recording's own rate, channels, length and sample format. Returns levels in dB relative
    to the recording."""
    with AudioReader(path) as reader, contextlib.ExitStack() as stack:
        rate, channels, subtype = reader.sample_rate, reader.num_channels, reader.subtype
        writers = [
            stack.enter_context(AudioWriter(f, rate, channels, subtype, commit)) for f in files
        ]
        found, whole = np.zeros(len(files)), 0.0
        blocks = counted(reader, progress, 0.5)
        pairs = separator.separate(list(files.values()), activity, blocks, rate)
        for mixture, targets in pairs:
            whole += energy(mixture)
            for number, writer in enumerate(writers):
                part = split(mixture, targets[number], subtype)[0]
                found[number] += energy(part)
                writer.write(part)
    return [round(max(level_db(part, whole), MIN_DB), 2) for part in found]


def counted(
    reader: AudioReader, progress: Progress | None, done: float
) -> Iterator[NDArray[np.floating]]:
    """The recording's blocks; progress counts them as half of the work, after `done` of all."""
    claimed = reader.claimed_samples / reader.sample_rate if reader.claimed_samples else None
    num_read = 0
    for block in reader.blocks(BLOCK_SAMPLES):
        yield block
        num_read += block.shape[-1]
        if progress:
            progress(done * (claimed or 0.0) + num_read / reader.sample_rate / 2, claimed)


def described(activity: Activity, group: Group, file: Path, level: float) -> dict[str, Any]:
    """A node as the summary has it."""
    there = {number for number in activity.active() if number in group.members}
    return {
        "name": group.name,
        "level": group.level,
        "ancestors": list(group.ancestors),
        "mid": group.mid,
        "probability": round(float(activity.of(group.members).max()), 4),
        "level_db": level,
        "spans": [[round(time, 3) for time in span] for span in activity.spans(group.members)],
        "classes": [activity.sounds[number].name for number in sorted(there)],
        "file": str(file),
    }

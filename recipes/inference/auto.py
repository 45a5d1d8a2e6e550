"""Every sound of a recording in a separate file: detected, then separated, in two passes over it."""

from __future__ import annotations

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

from qsep.queries.files.json_files import json_content, json_text
from qsep.separation.audio.reader import AudioReader
from qsep.separation.audio.source import AS_STORED, ReadOptions
from qsep.separation.audio.target_files import TargetFiles
from qsep.separation.detection.activity import Activity
from qsep.separation.detection.hierarchy import LEAF, Group, Level
from qsep.separation.detection.nodes import NodeSeparator
from qsep.separation.inference.chunks import BLOCK_SAMPLES
from qsep.separation.storage.results import Results

from .batch import check_jobs, progress_bar, refuse_existing, report_failure
from .level_words import in_decibels, level_in_words
from .lost_band import LostBand
from .output import Output
from .timeline import draw_timeline

log = logging.getLogger("qsep")

MAX_SPANS = 4  # printed for one sound
Progress = Callable[[float, float | None], object]


@dataclass(frozen=True)
class Task:
    """levels: of the hierarchy of sounds, in the order in which their sounds are listed."""

    output: Output
    levels: tuple[Level, ...]
    read_options: ReadOptions = AS_STORED

    @cached_property
    def results(self) -> Results:
        """The folder of results, in which files of others may lie."""
        return Results(self.output.folder, "auto", shared=True)

    def summary(self, path: Path) -> Path:
        """The JSON file that lists the sounds of the recording `path`."""
        return self.output.folder / f"{path.stem}.auto.json"

    def picture(self, path: Path) -> Path:
        """The timeline of the recording `path`."""
        return self.output.folder / f"{path.stem}.auto.png"

    def targets(self, path: Path, groups: Sequence[Group]) -> dict[Path, Group]:
        """The file of each sound; ValueError where two would be written to one."""
        naming = self.output.naming
        files = {
            self.output.folder
            / naming.result_names(path.stem, group.name, residual=False, index=index)[0]: group
            for index, group in enumerate(groups, start=1)
        }
        if len(files) < len(groups):
            raise ValueError(
                f"{path}: two sounds would be written to one file: give --name {{query}} or {{index}}, "
                "or choose fewer levels"
            )
        return files


def parse_levels(levels: Sequence[str]) -> tuple[Level, ...]:
    """Levels of the hierarchy from "1", "2" … and "leaf", without repetitions; ValueError for others."""
    parsed: list[Level] = []
    for level in levels:
        if level != LEAF and not (level.isdecimal() and int(level) >= 1):
            raise ValueError(f"--level {level!r}: expected 1, 2, 3 … or {LEAF}")
        parsed.append(level if level == LEAF else int(level))
    return tuple(dict.fromkeys(parsed))


def check_inputs(inputs: Sequence[Path], task: Task) -> None:
    """Raise ValueError for everything that can be refused before any work starts."""
    results = check_jobs(inputs, [], task.output, command="auto")
    if len(inputs) > 1 and "{stem}" not in task.output.naming.template:
        raise ValueError(
            f"--name {task.output.naming.template!r}: needs {{stem}} for several inputs"
        )
    stems: dict[str, Path] = {}
    for path in inputs:
        if (other := stems.setdefault(path.stem, path)) != path:
            raise ValueError(
                f"the sounds of {other} and {path} would be written to the same files: "
                "separate them in two runs"
            )
    files = [file for path in inputs for file in (task.summary(path), task.picture(path))]
    refuse_existing(files, inputs, task.output, results)


def separate_all(separator: NodeSeparator, inputs: Sequence[Path], task: Task) -> bool:
    """Write and report the sounds of each input; False if some input failed."""
    task.output.folder.mkdir(parents=True, exist_ok=True)
    model = separator.model
    lost_band = LostBand(model.name, model.separator.sample_rate)
    all_done = True
    for path in inputs:
        try:
            with progress_bar(path.name) as progress:
                summary = separate_sounds(separator, path, inputs, task, progress)
        except Exception as error:  # one file's failure does not stop the others
            all_done = False
            report_failure(str(path), error, task.output.json)
            continue
        if task.output.json:
            print(json.dumps(summary))
        else:
            print_sounds(summary)
            print(task.summary(path))
        lost_band.look_at([summary], str(path))
    return all_done


def print_sounds(summary: dict[str, Any]) -> None:
    """Print a line for each sound of a recording's summary."""
    for sound in summary["sounds"]:
        spans = ", ".join(f"{start:.1f}-{end:.1f}" for start, end in sound["spans"][:MAX_SPANS])
        more = " …" if len(sound["spans"]) > MAX_SPANS else ""
        print(
            f"{sound['file']}  {named(sound)}, probability {sound['probability']:.2f}, "
            f"{in_decibels(sound['level_db'])} ({level_in_words(sound['level_db'])}), at {spans}{more} s"
        )
    if not summary["sounds"]:
        print(f"{summary['input']}: no sound detected")


def named(sound: dict[str, Any]) -> str:
    """The name of a sound in a summary, with the guess of a family's class."""
    guess = sound["guess"]
    if guess is None:
        return str(sound["name"])
    return f"{sound['name']} (perhaps {guess['name']}, {guess['probability']:.2f})"


def separate_sounds(
    separator: NodeSeparator,
    path: Path,
    inputs: Sequence[Path],
    task: Task,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write a file for each sound of one recording, a summary, and a timeline; return the summary.

    Nothing is left behind if anything fails before the summary is written. inputs: files that must not be
    overwritten or removed.
    """
    with AudioReader(path, options=task.read_options) as reader:
        rate = reader.sample_rate
        activity = separator.detect(counted(reader, progress, 0.0), rate)
    groups = activity.groups(task.levels)
    files = task.targets(path, groups)
    refuse_existing(files, inputs, task.output, task.results)
    previous = files_of_summary(task.summary(path))
    levels = write_targets(separator, path, files, activity, task, progress) if files else []
    summary = {
        "input": str(path),
        "seconds": round(activity.seconds, 3),
        "sample_rate": rate,
        "model": separator.model.name,
        "detector": "model" if separator.tagger is None else "tagger",
        "threshold": activity.threshold,
        "step_seconds": activity.step_seconds,
        "sounds": [
            described(activity, group, file, level)
            for (file, group), level in zip(files.items(), levels, strict=True)
        ],
    }
    text = json_text(summary, indent=1) + "\n"
    task.results.write_text(task.results.name_of(task.summary(path)), text)
    remove_stale(task, path, previous - files.keys(), inputs)
    if groups and find_spec("matplotlib"):
        draw_timeline(activity, groups, task.picture(path), task.results.commit)
    elif groups:
        log.warning("no timeline: matplotlib is missing; pip install 'qsep[train]'")
    return summary


def remove_stale(task: Task, path: Path, files: set[Path], inputs: Sequence[Path]) -> None:
    """Delete an earlier run's timeline and sounds that are no longer detected, except inputs.

    Results deletes only files that are still as `qsep auto` wrote them.
    """
    originals = {each.resolve() for each in inputs}
    stale = [file for file in files if file.resolve() not in originals]
    task.results.remove(task.results.name_of(file) for file in (*stale, task.picture(path)))


def files_of_summary(summary: Path) -> set[Path]:
    """The sounds' files beside an earlier run's summary, as it lists them; empty without one."""
    try:
        sounds = json_content(summary)["sounds"]
        return {summary.parent / Path(sound["file"]).name for sound in sounds}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def write_targets(
    separator: NodeSeparator,
    path: Path,
    files: dict[Path, Group],
    activity: Activity,
    task: Task,
    progress: Progress | None,
) -> list[float | None]:
    """Write each sound in the recording's rate, channels and length; return levels in dB relative to it."""
    commit, file_format = task.results.commit, task.output.naming.file_format
    with AudioReader(path, quiet=True, options=task.read_options) as reader:
        with TargetFiles(reader, [[file] for file in files], False, commit, file_format) as targets:
            blocks = counted(reader, progress, 0.5)
            pairs = separator.separate(list(files.values()), activity, blocks, reader.sample_rate)
            for mixture, sounds in pairs:
                targets.write(mixture, sounds)
    return targets.levels_db()


def counted(
    reader: AudioReader, progress: Progress | None, done: float
) -> Iterator[NDArray[np.floating]]:
    """The recording's blocks (c, t). Progress is reported as half of the work, after a share `done`."""
    claimed = reader.claimed_samples / reader.sample_rate if reader.claimed_samples else None
    num_read = 0
    for block in reader.blocks(BLOCK_SAMPLES):
        yield block
        num_read += block.shape[-1]
        if progress:
            progress(done * (claimed or 0.0) + num_read / reader.sample_rate / 2, claimed)


def described(
    activity: Activity, group: Group, file: Path, level_db: float | None
) -> dict[str, Any]:
    """A sound's entry in the summary. level_db: relative to the recording; None if that is silent."""
    active = {number for number in activity.active() if number in group.members}
    guess = activity.guess(group)
    return {
        "name": group.name,
        "guess": guess and {"name": guess.name, "probability": round(guess.probability, 4)},
        "level": group.level,
        "ancestors": list(group.ancestors),
        "mid": group.mid,
        "probability": round(float(activity.of(group.members).max()), 4),
        "level_db": level_db,
        "spans": [[round(time, 3) for time in span] for span in activity.spans(group.members)],
        "classes": [activity.sounds[number].name for number in sorted(active)],
        "file": str(file),
    }

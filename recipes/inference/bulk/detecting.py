"""`qsep auto` as bulk work."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from qsep.separation.audio.source import AS_STORED, ReadOptions
from qsep.separation.detection.hierarchy import Level

from ..auto import Task, print_sounds, separate_sounds
from ..output import Output
from .jobs import Job
from .manifest import Row, outputs_of
from .work import Runner, attempt, digest_of

if TYPE_CHECKING:
    from qsep.separation.api import Model
    from qsep.separation.detection.nodes import NodeSeparator


@dataclass(frozen=True)
class AutoWork:
    """See the options of `qsep auto`."""

    command: ClassVar[str] = "auto"
    model: str
    device: str
    tagger: Path | None
    threshold: float | None
    levels: tuple[Level, ...]
    output: Output
    read_options: ReadOptions = AS_STORED

    @property
    def together(self) -> bool:
        """All sounds of a recording are found at once."""
        return True

    def queries_of(self, job: Job) -> Sequence[str]:
        """No queries: every sound is separated."""
        return ("",)

    def files_of(self, job: Job, query: str) -> list[str]:
        """The summary, which is written last and lists the others."""
        return [(Path(job.folder) / f"{Path(job.path).stem}.auto.json").as_posix()]

    def settings(self, separator: NodeSeparator) -> str:
        """See `ModelWork`."""
        model = separator.model.fingerprint
        form = [list(self.levels), dataclasses.asdict(self.output.naming)]
        parts = [model, str(self.tagger), separator.threshold, form]
        return digest_of(parts, self.read_options.plain())

    def about(self) -> Row:
        """See `ModelWork`."""
        return {}

    def show(self, row: Row) -> None:
        """See `ModelWork`."""
        print_sounds(row)

    def model_of(self, loaded: NodeSeparator) -> Model:
        """See `ModelWork`."""
        return loaded.model

    def load(self) -> NodeSeparator:
        """The model with its detector."""
        from qsep.separation.api import load
        from qsep.separation.detection.nodes import NodeSeparator

        return NodeSeparator(load(self.model, self.device), self.tagger, self.threshold)

    def start(self) -> Runner:
        """See `Work.start`."""
        return self.runner(self.load())

    def runner(self, separator: NodeSeparator) -> Runner:
        """See `ModelWork`."""
        settings = self.settings(separator)

        @cache
        def task_in(folder: str) -> Task:
            # What may be replaced was decided before the work; files of others are refused nevertheless.
            results_folder = self.output.folder / folder
            output = dataclasses.replace(self.output, folder=results_folder, overwrite=True)
            return Task(output, self.levels, self.read_options)

        def run(job: Job) -> list[Row]:
            def separate(path: Path) -> list[Row]:
                task = task_in(job.folder)
                task.output.folder.mkdir(parents=True, exist_ok=True)
                summary = separate_sounds(separator, path, [path], task)
                files = [Path(sound["file"]) for sound in summary["sounds"]]
                files += [task.summary(path), task.picture(path)]
                listed = [
                    file for file in files if task.results.name_of(file) in task.results.entries
                ]
                outputs = outputs_of(task.results, job.folder, listed)
                del summary["input"]
                return [{"query": None, "outputs": outputs, **summary}]

            return attempt(job, self.queries_of(job), settings, separate)

        return run

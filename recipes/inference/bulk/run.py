"""A bulk run: planning, running, and reporting jobs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from qsep.separation.storage.results import Results

from ..output import Output
from .jobs import Job, Others
from .manifest import Manifest, Row
from .work import Work


@dataclass
class Totals:
    """Numbers of recordings: separated in this run, failed, and skipped because they were done before; and
    the other files in their folders."""

    done: int = 0
    failed: int = 0
    skipped: int = 0
    others: Others = field(default_factory=Others)


class Plan:
    """The jobs still to do, given a manifest and the existing files.

    skip_existing: skip queries whose files all exist, whatever wrote them.
    """

    def __init__(
        self,
        work: Work,
        manifest: Manifest,
        jobs: Sequence[Job],
        overwrite: bool,
        skip_existing: bool,
    ) -> None:
        self.work, self.manifest, self.jobs = work, manifest, jobs
        self.overwrite, self.skip_existing = overwrite, skip_existing
        self.results: Results = manifest.results

    @cached_property
    def _recordings(self) -> set[Path]:
        return {Path(job.path).resolve() for job in self.jobs}

    def remaining(self) -> list[Job]:
        """The jobs to do, with their remaining queries; ValueError for files that may not be replaced."""
        remaining = []
        for job in self.jobs:
            queries = self.work.queries_of(job)
            self._refuse_same_names(job, queries)
            missing = tuple(query for query in queries if not self._is_done(job, query))
            if missing:
                whole = self.work.together or len(missing) == len(queries)
                remaining.append(replace(job, only=None if whole else missing))
        return remaining

    def _is_done(self, job: Job, query: str) -> bool:
        if self.manifest.is_done(job.key, query, Path(job.path)):
            return True
        names = self.work.files_of(job, query)
        existing = [name for name in names if (self.results.folder / name).exists()]
        if existing and self.skip_existing and len(existing) == len(names):
            return True
        for name in existing:
            self._refuse_existing(name)
        return False

    def _refuse_existing(self, name: str) -> None:
        file = self.results.folder / name
        if file.resolve() in self._recordings:
            raise ValueError(f"{file} is an input too: choose another folder with -o")
        if self.overwrite:
            self.results.claim(name)
        elif not self.manifest.may_replace(name):
            raise ValueError(
                f"{file} exists, by another run or other settings: add --skip-existing or --overwrite, "
                "or choose another folder with -o"
            )

    def _refuse_same_names(self, job: Job, queries: Sequence[str]) -> None:
        names: dict[str, str] = {}
        for query in queries:
            for name in self.work.files_of(job, query)[:1]:
                if (other := names.setdefault(name, query)) != query:
                    raise ValueError(
                        f"{job.path}: {other!r} and {query!r} would both be written to {name}: "
                        "separate them in two runs"
                    )


def run_jobs(
    outcomes: Iterable[tuple[Job, list[Row]]],
    manifest: Manifest,
    totals: Totals,
    output: Output,
    num_jobs: int,
    say: Callable[[Row], object],
) -> None:
    """Record and report the outcome of each job. say: prints a successful row as text."""
    with counter(num_jobs, output.quiet) as advance:
        for job, rows in outcomes:
            manifest.add(rows)
            errors = [row["error"] for row in rows if row["error"]]
            if errors:
                totals.failed += 1
                about = "" if job.path in errors[0] else f"{job.path}: "
                print(f"qsep: error: {about}{errors[0]}", file=sys.stderr)
            else:
                totals.done += 1
            for row in rows:
                if output.json:
                    print(json.dumps(row), flush=True)
                elif not row["error"] and not output.quiet:
                    say(row)
            advance()


def print_totals(totals: Totals, manifest: Manifest, quiet: bool) -> None:
    """Print the totals on standard error, unless quiet."""
    if not quiet:
        if totals.others.num:
            print(f"qsep: {totals.others.summary()}", file=sys.stderr)
        print(
            f"qsep: {totals.done} recordings done, {totals.failed} failed, "
            f"{totals.skipped} done before: {manifest.path}",
            file=sys.stderr,
        )


@contextmanager
def counter(num_jobs: int, quiet: bool) -> Iterator[Callable[[], Any]]:
    """A progress bar on standard error if it is a terminal; each call of the value advances it by one."""
    if quiet or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("recordings", total=num_jobs)
        yield lambda: bars.advance(task)

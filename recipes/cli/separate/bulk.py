"""Options of `qsep separate` and `qsep auto` for many recordings, and the run that they ask for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ..options import SOME_FAILED

if TYPE_CHECKING:
    from ...inference.bulk.jobs import Job, Others
    from ...inference.bulk.work import ModelWork
    from ...inference.output import Output

Loaded = TypeVar("Loaded")

FromOption = Annotated[
    Path | None,
    typer.Option(
        "--from",
        help="A list of recordings: text with a path per line, optionally followed by a tab and a query, or "
        "CSV or JSONL with `input` and optionally `query`; - reads text from standard input.",
    ),
]
SkipExistingOption = Annotated[
    bool, typer.Option("--skip-existing", help="Skip recordings whose results exist.")
]
ShardOption = Annotated[
    str | None,
    typer.Option(help="Process only part I of N, as 2/8; parts may run on different machines."),
]
WorkersOption = Annotated[
    int,
    typer.Option(
        min=1, help="Recordings processed in parallel, each by a process with its own model."
    ),
]
RayOption = Annotated[
    str | None,
    typer.Option(
        help="Address of a Ray cluster that runs the --workers, or local. Needs the extra ray."
    ),
]


@dataclass(frozen=True)
class BulkOptions:
    """The options of a bulk run, see their help texts."""

    listing: Path | None = None
    allow_outside: bool = False
    skip_existing: bool = False
    shard: str | None = None
    workers: int = 1
    ray: str | None = None

    def part(self) -> tuple[int, int] | None:
        """The numbers (I, N) of --shard, None for all; ValueError for another text."""
        from ...inference.bulk.jobs import parse_shard

        return parse_shard(self.shard) if self.shard else None

    def are_wanted(self, inputs: Sequence[Path]) -> bool:
        """Whether this is a bulk run, which has a manifest: any option of it, or a folder."""
        return self != BulkOptions() or any(path.is_dir() for path in inputs)


def jobs_for(
    inputs: Sequence[Path], output: Output, options: BulkOptions
) -> tuple[list[Job], Others]:
    """The jobs of files, folders and list that belong to the chosen part, and a count of the folders' other
    files; ValueError if there are no jobs."""
    from ...inference.batch import check_writable
    from ...inference.bulk.jobs import Others, in_shard, jobs_of, merged
    from ...inference.bulk.lists import read_list

    if Path("-") in (output.folder, *inputs):
        raise ValueError("- is one recording: folders, lists and their options need files and -o")
    shard = options.part()
    check_writable(output.folder)
    others = Others()

    def jobs() -> Iterator[Job]:
        yield from jobs_of(inputs, output.folder, result_finder(output.folder), others)
        if options.listing is not None:
            yield from read_list(options.listing, options.allow_outside)

    all_jobs = merged(jobs())
    if not all_jobs:
        raise ValueError(f"{options.listing or 'the command'} names no recordings")
    return [job for job in all_jobs if shard is None or in_shard(job, shard)], others


def result_finder(out: Path) -> Callable[[Path], bool]:
    """A function that tells whether a file in or below the folder of results is listed as a result there."""
    from qsep.separation.storage.results import LISTING, read_listing

    @cache
    def listed(folder: Path) -> set[str]:
        return {name for names in read_listing(folder / LISTING).values() for name in names}

    def is_result(path: Path) -> bool:
        if path.name in listed(path.parent):
            return True
        return path.is_relative_to(out) and path.relative_to(out).as_posix() in listed(out)

    return is_result


def run_in_bulk(
    work: ModelWork[Loaded],
    loaded: Loaded,
    jobs: Sequence[Job],
    others: Others,
    options: BulkOptions,
) -> None:
    """Process the remaining jobs, with a manifest; exit with SOME_FAILED if some failed.

    loaded: of the work. jobs, others: of `jobs_for`.
    """
    from qsep.separation.storage.exclusive import alone_at
    from qsep.separation.storage.results import Results

    from ...inference.bulk.cluster import on_cluster
    from ...inference.bulk.manifest import Manifest
    from ...inference.bulk.processes import in_processes, in_this_process
    from ...inference.bulk.run import Plan, Totals, print_totals, run_jobs
    from ...inference.lost_band import LostBand

    output, model = work.output, work.model_of(loaded)
    results = Results(output.folder, work.command, shared=True)
    manifest = Manifest(results, work.settings(loaded), options.part())
    remaining = Plan(work, manifest, jobs, output.overwrite, options.skip_existing).remaining()
    totals = Totals(skipped=len(jobs) - len(remaining), others=others)
    if remaining:
        output.folder.mkdir(parents=True, exist_ok=True)
        about = {"command": work.command, "recordings": len(jobs), "shard": options.shard}
        manifest.begin(about | {"model": model.name} | work.about())
        with alone_at(manifest.path):
            if options.ray:
                outcomes = on_cluster(work, remaining, options.ray, options.workers)
            elif options.workers > 1:
                outcomes = in_processes(work, remaining, options.workers)
            else:
                outcomes = in_this_process(remaining, work.runner(loaded))
            outcomes = LostBand(model.name, model.separator.sample_rate).watching(outcomes)
            run_jobs(outcomes, manifest, totals, output, len(remaining), work.show)
    print_totals(totals, manifest, output.quiet)
    if totals.failed:
        sys.exit(SOME_FAILED)

"""`qsep data folder, open-sounds, check, stats, shard`: corpora of labelled recordings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..options import NUM_CPUS, SOME_FAILED, AllowOutsideOption
from .problems import print_problems

if TYPE_CHECKING:
    from ...data.corpus.folder import CorpusSummary
    from ...data.corpus.recordings import Columns, Recording

NUM_SHOWN = 10  # faults that `check` prints without a report

JobsOption = Annotated[int, typer.Option(min=1, help="Recordings processed in parallel.")]
OutOption = Annotated[
    Path,
    typer.Option("--out", "-o", help="Folder to write; work that it already holds is continued."),
]
CorpusArgument = Annotated[
    Path, typer.Argument(help="A folder with clips.csv and its recordings.", metavar="DATA")
]


def make_folder(
    source: Annotated[
        Path,
        typer.Argument(
            help="A folder with a subfolder per class (folders inside these are groups), or a CSV "
            "table.",
            metavar="SOURCE",
        ),
    ],
    out: OutOption,
    file_column: Annotated[str, typer.Option(help="Column of a table with file names.")] = "file",
    label_column: Annotated[str, typer.Option(help="Column with labels.")] = "label",
    group_column: Annotated[
        str | None,
        typer.Option(help="Column with groups, as recording sessions, that stay in one split."),
    ] = None,
    split_column: Annotated[
        str | None,
        typer.Option(help="Column with train, dev or test. Default: splits are drawn."),
    ] = None,
    audio: Annotated[
        Path | None, typer.Option(help="Folder of a table's files. Default: the table's.")
    ] = None,
    dev: Annotated[
        float, typer.Option(min=0, max=0.5, help="Share of each label's recordings for validation.")
    ] = 0.2,
    test: Annotated[
        float, typer.Option(min=0, max=0.5, help="Share of each label's recordings for testing.")
    ] = 0.0,
    split_by: Annotated[
        str, typer.Option(help="group: keep groups together; random: split each recording alone.")
    ] = "group",
    seed: Annotated[int, typer.Option(help="Seed of the splits.")] = 0,
    allow_outside: AllowOutsideOption = False,
    jobs: JobsOption = NUM_CPUS,
) -> None:
    """Make a training corpus from your own labelled recordings: splits, checks, a phrase book to edit.

    Silent, damaged, very short and duplicate recordings are left out; clipped, narrow-band and
    near-duplicate ones are noted. All are listed in report.csv.
    """
    from qsep.separation.storage.exclusive import alone_in
    from qsep.separation.storage.listed_paths import outside_allowed

    from ...data.corpus.folder import SplitRule, make_corpus
    from ...data.corpus.recordings import Columns
    from ...inference.batch import progress_bar

    if split_by not in ("group", "random"):
        raise ValueError(f"--split-by {split_by!r}: expected group or random")
    columns = Columns(file_column, label_column, group_column, split_column)
    with outside_allowed(allow_outside):
        recordings = read_source(source, columns, audio)
    rule = SplitRule({"dev": dev, "test": test}, split_by == "group", seed)
    with alone_in(out), progress_bar(source.name) as progress:
        corpus = make_corpus(recordings, out, rule, jobs, progress)
    print_splits(corpus)
    print_faults(corpus.faults, corpus.report)
    print(f"phrase book, to be edited: {out / 'phrases.toml'}")


def read_source(source: Path, columns: Columns, audio: Path | None) -> list[Recording]:
    """The recordings of a folder of classes or of a table; ValueError if it is neither."""
    from ...data.corpus.recordings import read_folder, read_table

    if source.is_dir():
        return read_folder(source)
    if source.is_file():
        return read_table(source, columns, audio)
    raise ValueError(f"{source}: no such folder or table")


def print_splits(corpus: CorpusSummary) -> None:
    """Print for each label how many recordings each split has."""
    for label in sorted({label for label, _ in corpus.clips}):
        counts = {
            split: num for (name, split), num in sorted(corpus.clips.items()) if name == label
        }
        text = ", ".join(f"{num} {split}" for split, num in counts.items())
        print(f"{label}: {text}" + ("" if "dev" in counts else "; none for validation"))


def open_sounds(
    sources: Annotated[
        Path,
        typer.Argument(
            help="Folder of the downloaded sources, in any subfolders.", metavar="SOURCES"
        ),
    ],
    out: OutOption,
    jobs: JobsOption = NUM_CPUS,
) -> None:
    """Rebuild the sounds150 corpus from its public sources, by the list that the package contains.

    Missing recordings are reported together with where they can be downloaded.
    """
    from qsep.separation.storage.exclusive import alone_in

    from ...data.corpus.open_sounds import PROBLEMS, rebuild
    from ...inference.batch import progress_bar

    with alone_in(out), progress_bar("sounds150") as progress:
        rebuilt = rebuild(sources, out, jobs, progress)
    print(f"{out / 'clips.csv'}: {rebuilt.num_clips} clips")
    print_problems(rebuilt.problems, PROBLEMS, rebuilt.report)


def check_data(
    data: CorpusArgument,
    report: Annotated[Path | None, typer.Option(help="CSV file to list all problems in.")] = None,
    allow_outside: AllowOutsideOption = False,
    jobs: JobsOption = NUM_CPUS,
) -> None:
    """Check a corpus: missing, damaged, silent, clipped and duplicate recordings, leaks between splits.

    Exit code 1 if a problem makes the corpus unfit, as the same content in train and dev does.
    """
    from qsep.separation.storage.listed_paths import outside_allowed
    from qsep.separation.storage.results import Results

    from ...data.corpus.checking import check_corpus
    from ...data.corpus.folder import by_gravity, report_text
    from ...inference.batch import progress_bar

    with outside_allowed(allow_outside), progress_bar(data.name) as progress:
        checked = check_corpus(data, jobs, progress)
    if report:
        text = report_text(checked.faults)
        Results(report.parent, "data check", shared=True).write_text(report.name, text)
    print(f"{checked.num_recordings} recordings")
    print_faults(Counter(fault.fault for fault in checked.faults), report)
    if checked.faults and not report:
        for fault in by_gravity(checked.faults)[:NUM_SHOWN]:
            print(f"{fault.file}: {fault.fault}, {fault.remark}")
        if (more := len(checked.faults) - NUM_SHOWN) > 0:
            print(f"and {more} more: --report FILE lists all")
    if not checked.sound:
        raise typer.Exit(SOME_FAILED)


def count_data(
    data: CorpusArgument,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="HTML file to write the tables to, with bars."),
    ] = None,
    listen: Annotated[
        bool,
        typer.Option(
            "--listen",
            help="Decode every recording: actual durations, energy above 8 kHz, and how many have none "
            "there.",
        ),
    ] = False,
    allow_outside: AllowOutsideOption = False,
    jobs: JobsOption = NUM_CPUS,
) -> None:
    """Count clips, groups and minutes by label, family, source and licence."""
    from qsep.separation.storage.listed_paths import outside_allowed
    from qsep.separation.storage.results import Results

    from ...data.corpus.checking import read_corpus
    from ...data.corpus.counting import count, page_of, text_of
    from ...data.corpus.measuring import measure_all
    from ...inference.batch import progress_bar

    with outside_allowed(allow_outside):
        recordings = read_corpus(data)
    facts = None
    if listen:
        with progress_bar(data.name) as progress:
            facts = measure_all((recording.path for recording in recordings), jobs, progress)
    counts = count(data, facts)
    print(text_of(counts))
    if out:
        page = page_of(data.resolve().name, counts)
        Results(out.parent, "data stats", shared=True).write_text(out.name, page)


def shard_data(
    data: CorpusArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the shards.")],
    megabytes: Annotated[float, typer.Option(min=0.01, help="Maximum size of a shard.")] = 60.0,
    seed: Annotated[int, typer.Option(help="Seed of the order of recordings.")] = 0,
    allow_outside: AllowOutsideOption = False,
) -> None:
    """Pack a corpus into tar files in WebDataset's format; data.folder of a recipe may name the result."""
    from qsep.separation.storage.exclusive import alone_in
    from qsep.separation.storage.listed_paths import outside_allowed

    from ...data.corpus.shards import write_shards

    with outside_allowed(allow_outside), alone_in(out):
        shards = write_shards(data, out, round(megabytes * 1e6), seed)
    num_shards = Counter(shard.split for shard in shards)
    for split, num in num_shards.items():
        num_clips = sum(shard.clips for shard in shards if shard.split == split)
        print(f"{split}: {num_clips} clips in {num} shards")


def print_faults(counts: Mapping[str, int], report: Path | None) -> None:
    """Print how many recordings have each fault, and where they are listed."""
    from ...data.corpus.faults import MEANINGS

    print_problems(counts, MEANINGS, report)

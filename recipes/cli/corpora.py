"""`qsep data folder, open-sounds, check, stats, mix, shard`: corpora of labelled recordings."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from .options import SOME_FAILED

JobsOption = Annotated[int, typer.Option(min=1, help="Recordings at a time.")]
NUM_JOBS = os.cpu_count() or 1
CorpusArgument = Annotated[
    Path, typer.Argument(help="A folder with clips.csv and its recordings.", metavar="DATA")
]


def make_folder(
    source: Annotated[
        Path,
        typer.Argument(
            help="A folder a class (folders within these are groups), or a CSV table.",
            metavar="SOURCE",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to; continues what is there.")],
    file_column: Annotated[str, typer.Option(help="Of a table: the column of files.")] = "file",
    label_column: Annotated[str, typer.Option(help="Of a table: the column of labels.")] = "label",
    group_column: Annotated[
        str | None, typer.Option(help="Of a table: what must not be in two splits, as a session.")
    ] = None,
    split_column: Annotated[
        str | None, typer.Option(help="Of a table: train, dev or test. Default: drawn.")
    ] = None,
    audio: Annotated[
        Path | None, typer.Option(help="Where a table's files lie (default: beside it).")
    ] = None,
    dev: Annotated[
        float, typer.Option(min=0, max=0.5, help="Share of each label kept to measure by.")
    ] = 0.2,
    test: Annotated[float, typer.Option(min=0, max=0.5, help="Share kept for a last test.")] = 0.0,
    split_by: Annotated[
        str, typer.Option(help="group: whole groups go into a split; random: each recording.")
    ] = "group",
    seed: Annotated[int, typer.Option(help="Of the splits.")] = 0,
    jobs: JobsOption = NUM_JOBS,
) -> None:
    """Make a folder to train on out of your own recordings: splits, checks, a phrase book to edit.

    What is silent, damaged, too short or there twice is left out, what is clipped, dull or nearly the same is
    noted, all in report.csv.
    """
    from ..data.corpus.folder import SplitRule, make_corpus
    from ..data.corpus.intake import Columns, read_folder, read_table
    from ..inference.batch import progress_bar

    if split_by not in ("group", "random"):
        raise ValueError(f"--split-by {split_by!r}; expected group or random")
    if source.is_dir():
        recordings = read_folder(source)
    elif source.is_file():
        columns = Columns(file_column, label_column, group_column, split_column)
        recordings = read_table(source, columns, audio)
    else:
        raise ValueError(f"{source}: no such folder or table")
    rule = SplitRule({"dev": dev, "test": test}, split_by == "group", seed)
    with progress_bar(source.name) as progress:
        made = make_corpus(recordings, out, rule, jobs, progress)
    for label in sorted({label for label, _ in made.clips}):
        splits = {split: num for (own, split), num in sorted(made.clips.items()) if own == label}
        counts = ", ".join(f"{num} {split}" for split, num in splits.items())
        print(f"{label}: {counts}" + ("" if "dev" in splits else "; none to measure by"))
    print_faults(made.faults, made.report)
    print(f"how your sounds are asked for, please edit: {out / 'phrases.toml'}")


def open_sounds(
    sources: Annotated[
        Path, typer.Argument(help="The downloaded sources, in any subfolders.", metavar="SOURCES")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to; continues what is there.")],
    jobs: JobsOption = NUM_JOBS,
) -> None:
    """Make sounds150 out of the recordings that it was made of, by the list in the package.

    Reports what is missing, with where it comes from.
    """
    from ..data.corpus.open_sounds import PROBLEMS, rebuild
    from ..inference.batch import progress_bar
    from .data import print_problems

    with progress_bar("sounds150") as progress:
        made = rebuild(sources, out, jobs, progress)
    print(f"{out / 'clips.csv'}: {made.num_clips} clips")
    print_problems(made.problems, PROBLEMS, made.report)


def check_data(
    data: CorpusArgument,
    report: Annotated[
        Path | None, typer.Option(help="Write every fault into this CSV file.")
    ] = None,
    jobs: JobsOption = NUM_JOBS,
) -> None:
    """Look for what is missing, damaged, silent, clipped, there twice or in two splits, by content too.

    Ends with 1 where something must not stay as it is, as equal content in train and dev.
    """
    from qsep.separation.storage.temporary import write_atomically

    from ..data.corpus.checking import check_corpus
    from ..data.corpus.folder import report_text
    from ..inference.batch import progress_bar

    with progress_bar(data.name) as progress:
        checked = check_corpus(data, jobs, progress)
    text = report_text(checked.faults)
    if report:
        write_atomically(report, lambda file: file.write_text(text, encoding="utf-8"))
    print(f"{checked.num_recordings} recordings")
    counts: dict[str, int] = {}
    for fault in checked.faults:
        counts[fault.fault] = counts.get(fault.fault, 0) + 1
    print_faults(counts, report)
    if not checked.sound:
        raise typer.Exit(SOME_FAILED)


def count_data(
    data: CorpusArgument,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the tables, with bars, as FILE.html.")
    ] = None,
    listen: Annotated[
        bool,
        typer.Option(
            "--listen",
            help="Decode every recording: real durations, and which have nothing above 8 kHz.",
        ),
    ] = False,
    jobs: JobsOption = NUM_JOBS,
) -> None:
    """Clips, groups and minutes by label, family, source and licence."""
    from qsep.separation.storage.temporary import write_atomically

    from ..data.corpus.checking import read_corpus
    from ..data.corpus.counting import count, page_of, text_of
    from ..data.corpus.hearing import hear_all
    from ..inference.batch import progress_bar

    recordings = read_corpus(data)
    heard = None
    if listen:
        with progress_bar(data.name) as progress:
            heard = hear_all((recording.path for recording in recordings), jobs, progress)
    counts = count(data, heard)
    print(text_of(counts))
    if out:
        page = page_of(data.resolve().name, counts)
        write_atomically(out, lambda file: file.write_text(page, encoding="utf-8"))


def mix_data(
    manifest: Annotated[
        str,
        typer.Argument(
            help="A CSV of mixtures, or one in the package, as sounds150-dev-2.", metavar="MANIFEST"
        ),
    ],
    data: CorpusArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="A folder for a folder an item.")],
    jobs: JobsOption = NUM_JOBS,
) -> None:
    """Render a manifest: ID/mixture.wav, target.wav, rest.wav and query.txt of each item."""
    from qsep.evaluation.protocols import load_items

    from ..data.corpus.rendering import render_folders
    from ..inference.batch import progress_bar

    protocol, _, name = manifest.partition("-")
    shipped = protocol in ("sounds21", "sounds150") and not Path(manifest).is_file()
    items = load_items(
        protocol if shipped else "sounds150", data, Path(name if shipped else manifest)
    )
    with progress_bar(manifest) as progress:
        ids = render_folders(items, out, jobs, progress)
    print(f"{out}: {len(ids)} mixtures")


def shard_data(
    data: CorpusArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="A folder for the shards.")],
    megabytes: Annotated[float, typer.Option(min=0.01, help="Of a shard, at most.")] = 60.0,
    seed: Annotated[int, typer.Option(help="Of the order of recordings.")] = 0,
) -> None:
    """Pack a corpus into tar files as WebDataset reads them; training takes such a folder as data.folder."""
    from ..data.corpus.shards import write_shards

    shards = write_shards(data, out, round(megabytes * 1e6), seed)
    for split in dict.fromkeys(shard.split for shard in shards):
        own = [shard for shard in shards if shard.split == split]
        print(f"{split}: {sum(shard.clips for shard in own)} clips in {len(own)} shards")


def print_faults(counts: Mapping[str, int], report: Path | None) -> None:
    from ..data.corpus.faults import MEANINGS

    for name in MEANINGS:
        if number := counts.get(name):
            print(f"{number} {name}: {MEANINGS[name]}")
    if counts and report:
        print(f"which ones: {report}")


COMMANDS: dict[str, Callable[..., None]] = {
    "folder": make_folder,
    "open-sounds": open_sounds,
    "check": check_data,
    "stats": count_data,
    "mix": mix_data,
    "shard": shard_data,
}

"""`qsep data`: training data of what one has. A thin shell, as cli.py; imports wait until needed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .corpora import COMMANDS
from .options import as_pairs

if TYPE_CHECKING:
    from ..data.prepare.caption_lists import Written

data_app = typer.Typer(no_args_is_help=True, help="Make training data of what you have.")
for name, command in COMMANDS.items():
    data_app.command(name)(command)

OutOption = Annotated[Path, typer.Option("--out", "-o", help="Where to; continues what is there.")]
ExcludeOption = Annotated[
    list[Path] | None,
    typer.Option(
        help="Recordings not to train on: a folder prepared here (its dev and test), a blacklist of "
        "WavCaps, or a CSV file of YouTube ids, Freesound ids or files. Repeatable."
    ),
]


@data_app.command("prepare")
def prepare_data(
    dataset: Annotated[str, typer.Argument(help="music or vggsound.", metavar="DATASET")],
    folder: Annotated[
        Path, typer.Argument(help="Your videos, in any subfolders.", metavar="FOLDER")
    ],
    out: OutOption = ...,  # type: ignore[assignment]
    listing: Annotated[
        Path | None,
        typer.Option("--list", help="vggsound.csv (default: FOLDER's), or MUSIC's JSON of videos."),
    ] = None,
    held_out: Annotated[
        list[Path] | None,
        typer.Option(help="An index file of clips to keep for testing. Repeatable."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Videos at a time.")] = (os.cpu_count() or 1),
) -> None:
    """Turn videos into sounds, frames and index files to train on.

    DATASET says where labels come from: MUSIC's are the names of the videos' folders, VGGSound's stand in
    its list. What is missing, broken or too short is counted, and listed in report.csv.
    """
    from ..data.prepare.videos import PROBLEMS, prepare
    from ..inference.batch import progress_bar

    with progress_bar(dataset) as progress:
        done = prepare(dataset, folder, out, listing, held_out or (), jobs, progress)
    for name, num_clips in done.clips.items():
        print(f"{out / name}.csv: {num_clips} clips")
    print_problems(done.problems, PROBLEMS, done.report)


@data_app.command("captions")
def prepare_captions_data(
    dataset: Annotated[
        str,
        typer.Argument(
            help="audiocaps, audioset, clotho, esc50, fsd50k, vggsound or wavcaps.",
            metavar="DATASET",
        ),
    ],
    folder: Annotated[
        Path,
        typer.Argument(
            help="The data set as published: its lists and recordings, in any subfolders.",
            metavar="FOLDER",
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            help="The data set's own: esc50 fold=5, fsd50k captions=labels, wavcaps parts=FreeSound.",
            metavar="[KEY=VALUE]...",
        ),
    ] = None,
    out: OutOption = ...,  # type: ignore[assignment]
    lists: Annotated[
        Path | None, typer.Option(help="Folder of the publisher's lists (default: FOLDER).")
    ] = None,
    exclude: ExcludeOption = None,
    sample_rate: Annotated[
        int | None,
        typer.Option(
            min=1000,
            help="Make WAV files of this rate in Hz, also of videos; default: the recordings stay "
            "where and as they are.",
        ),
    ] = None,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Read each recording to its end.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Recordings at a time.")] = os.cpu_count() or 1,
) -> None:
    """Turn a public data set into train.json, dev.json and test.json: recordings and their captions.

    Where the publisher has no validation part, dev.json gets a hundredth of train. What is missing,
    unreadable, there twice or kept out of training is counted, and listed in report.csv.
    """
    from ..data.prepare.captions import Request, prepare_captions
    from ..data.prepare.recordings import Care
    from ..inference.batch import progress_bar

    request = Request(dataset, folder, as_pairs(settings or []), lists, exclude or ())
    with progress_bar(dataset) as progress:
        done = prepare_captions(request, out, Care(sample_rate, thorough), jobs, progress)
    print_lists(done, out)


@data_app.command("join")
def join_data(
    folders: Annotated[
        list[Path],
        typer.Argument(help="Folders that `qsep data captions` made.", metavar="FOLDER..."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the joined lists.")] = ...,  # type: ignore[assignment]
    exclude: ExcludeOption = None,
) -> None:
    """One set of lists of several; recordings stay where they are.

    What any of them has in dev or test is left out of train (and what is in test, of dev).
    """
    from ..data.prepare.caption_lists import join

    print_lists(join(folders, out, exclude or ()), out)


@data_app.command("anchors")
def mine_anchors(
    folder: Annotated[
        Path, typer.Argument(help="Lists that `qsep data captions` or join made.", metavar="FOLDER")
    ],
    detector: Annotated[
        Path,
        typer.Option(help="Cnn14_DecisionLevelMax_mAP=0.385.pth of PANNs, or a checkpoint of USS."),
    ],
    out: OutOption = ...,  # type: ignore[assignment]
    min_probability: Annotated[
        float, typer.Option(min=0, max=1, help="Leave out anchors of a lower mean probability.")
    ] = 0.0,
) -> None:
    """Find the two seconds of each recording in which its label is heard most surely.

    Writes lists like those in FOLDER, with an item for each recording and label that is a class of AudioSet,
    and its start. Recordings stay where they are.
    """
    from ..data.prepare.anchors import PROBLEMS, mine
    from ..inference.batch import progress_bar

    with progress_bar("anchors") as progress:
        done = mine(folder, out, detector, min_probability, progress)
    for name, num_segments in done.segments.items():
        print(f"{out / name}.json: {num_segments} anchor segments")
    print_problems(done.problems, PROBLEMS, done.report)


def print_lists(done: Written, out: Path) -> None:
    from ..data.prepare.captions import PROBLEMS

    for name, num_clips in done.clips.items():
        taken = f", {done.held_out} of them held out of train" if done.held_out else ""
        print(f"{out / name}.json: {num_clips} recordings{taken if name == 'dev' else ''}")
    print_problems(done.problems, PROBLEMS, done.report)


def print_problems(problems: Mapping[str, int], meanings: Mapping[str, str], report: Path) -> None:
    for problem, num_files in sorted(problems.items()):
        print(f"{num_files} {problem}: {meanings[problem]}")
    if problems:
        print(f"which ones: {report}")

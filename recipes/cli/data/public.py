"""`qsep data prepare, captions, join, anchors`: training data from public data sets and videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..options import NUM_CPUS, as_pairs
from .problems import print_problems

if TYPE_CHECKING:
    from ...data.prepare.caption_lists import Written

OutOption = Annotated[
    Path,
    typer.Option("--out", "-o", help="Folder to write; work that it already holds is continued."),
]
ExcludeOption = Annotated[
    list[Path] | None,
    typer.Option(
        help="Recordings to keep out of training: a folder prepared by this command (its dev and test "
        "parts), a blacklist of WavCaps, or a CSV file of YouTube ids, Freesound ids or file names. "
        "Repeatable."
    ),
]


def prepare_data(
    dataset: Annotated[str, typer.Argument(help="music or vggsound.", metavar="DATASET")],
    folder: Annotated[
        Path, typer.Argument(help="Folder of videos; subfolders are searched.", metavar="FOLDER")
    ],
    *,
    out: OutOption,
    listing: Annotated[
        Path | None,
        typer.Option(
            "--list", help="vggsound.csv (default: the one in FOLDER), or MUSIC's JSON of videos."
        ),
    ] = None,
    held_out: Annotated[
        list[Path] | None,
        typer.Option(help="An index file of clips to keep for testing. Repeatable."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Videos processed in parallel.")] = NUM_CPUS,
) -> None:
    """Extract audio and frames from videos, with index files to train on.

    DATASET says where labels come from: for MUSIC the folders' names, for VGGSound its list. Videos that are
    missing, broken or too short are counted, and listed in report.csv.
    """
    from qsep.separation.storage.exclusive import alone_in

    from ...data.prepare.videos import PROBLEMS, prepare
    from ...inference.batch import progress_bar

    with alone_in(out), progress_bar(dataset) as progress:
        prepared = prepare(dataset, folder, out, listing, held_out or (), jobs, progress)
    for name, num_clips in prepared.clips.items():
        print(f"{out / name}.csv: {num_clips} clips")
    print_problems(prepared.problems, PROBLEMS, prepared.report)


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
            help="Settings of the data set: esc50 fold=5, fsd50k captions=labels, wavcaps "
            "parts=FreeSound.",
            metavar="[KEY=VALUE]...",
        ),
    ] = None,
    *,
    out: OutOption,
    lists: Annotated[
        Path | None, typer.Option(help="Folder of the publisher's lists (default: FOLDER).")
    ] = None,
    exclude: ExcludeOption = None,
    sample_rate: Annotated[
        int | None,
        typer.Option(
            min=1000,
            help="Convert recordings and videos to WAV files of this rate in Hz. Default: recordings "
            "are used where they are.",
        ),
    ] = None,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Decode each recording to its end.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Recordings processed in parallel.")] = NUM_CPUS,
) -> None:
    """List a public data set's recordings and captions in train.json, dev.json and test.json.

    If the publisher has no validation part, dev.json gets 1 % of the training part. Recordings that are
    missing, unreadable, duplicate or excluded are counted, and listed in report.csv.
    """
    from qsep.separation.storage.exclusive import alone_in

    from ...data.prepare.captions import Request, prepare_captions
    from ...data.prepare.recordings import Care
    from ...inference.batch import progress_bar

    request = Request(dataset, folder, as_pairs(settings or []), lists, exclude or ())
    with alone_in(out), progress_bar(dataset) as progress:
        written = prepare_captions(request, out, Care(sample_rate, thorough), jobs, progress)
    print_lists(written, out)


def join_data(
    folders: Annotated[
        list[Path],
        typer.Argument(help="Folders made by 'qsep data captions'.", metavar="FOLDER..."),
    ],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the joined lists.")],
    exclude: ExcludeOption = None,
) -> None:
    """Join the lists of several data sets; recordings stay where they are.

    Recordings in dev or test of one data set are left out of train in all, and those in test out of dev.
    """
    from ...data.prepare.caption_lists import join

    print_lists(join(folders, out, exclude or ()), out)


def mine_anchors(
    folder: Annotated[
        Path,
        typer.Argument(help="Lists made by 'qsep data captions' or 'join'.", metavar="FOLDER"),
    ],
    detector: Annotated[
        Path,
        typer.Option(help="Cnn14_DecisionLevelMax_mAP=0.385.pth of PANNs, or a checkpoint of USS."),
    ],
    *,
    out: OutOption,
    min_probability: Annotated[
        float,
        typer.Option(min=0, max=1, help="Leave out anchors whose mean probability is lower."),
    ] = 0.0,
) -> None:
    """Find the two seconds of each recording in which its label is most probable.

    Writes lists like those in FOLDER, with an item and its start for each recording and each of its labels
    that is a class of AudioSet. Recordings stay where they are.
    """
    from qsep.separation.storage.exclusive import alone_in

    from ...data.prepare.anchors import PROBLEMS, find_anchors
    from ...inference.batch import progress_bar

    with alone_in(out), progress_bar("anchors") as progress:
        mined = find_anchors(folder, out, detector, min_probability, progress)
    for name, num_segments in mined.segments.items():
        print(f"{out / name}.json: {num_segments} anchor segments")
    print_problems(mined.problems, PROBLEMS, mined.report)


def split_captions(
    folder: Annotated[
        Path,
        typer.Argument(
            help="A folder with train.json, as `qsep data captions` makes it.", metavar="FOLDER"
        ),
    ],
    command: Annotated[
        str,
        typer.Option(
            metavar="PROGRAM",
            help="Another parser: it reads captions, one a line, and prints for each a line with its "
            "phrases, separated by tabs.",
        ),
    ] = "",
) -> None:
    """Split captions into the sounds that they name, in FOLDER/phrases.json, to be read and edited.

    Weak supervision (`bimodal`) uses the file if it is there, and otherwise splits captions by the same rules
    while it trains.
    """
    from qsep.separation.storage.exclusive import alone_in

    from ...data.captions.stored_phrases import FILE
    from ...data.prepare.phrases import write_phrases

    with alone_in(folder):
        phrases = write_phrases(folder, command)
    print(f"{folder / FILE}: {sum(map(len, phrases.values()))} phrases of {len(phrases)} captions")


def print_lists(written: Written, out: Path) -> None:
    """Print the number of recordings in each list, and the problems found."""
    from ...data.prepare.captions import PROBLEMS

    for name, num_clips in written.clips.items():
        held_out = f", {written.held_out} of them held out of train" if written.held_out else ""
        print(f"{out / name}.json: {num_clips} recordings{held_out if name == 'dev' else ''}")
    print_problems(written.problems, PROBLEMS, written.report)

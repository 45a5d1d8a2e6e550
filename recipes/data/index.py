"""Index files of prepared videos, in the format of Dong et al. (2023).

CSV without a header: audio file, folder of frames, number of frames, label.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from qsep.evaluation.items.recordings import read_list
from qsep.separation.storage.csv_cells import inert
from qsep.separation.storage.listed_paths import check_inside

FRAMES_PER_SECOND = 1
MIN_FRAMES = 4  # the middle frame has neighbours on both sides


@dataclass(frozen=True)
class VideoClip:
    """audio, frames: a WAV file and a folder of 000001.jpg, 000002.jpg …, relative to the data folder."""

    audio: str
    frames: str
    num_frames: int
    label: str


def read_index(
    folder: Path, split: str, labels: Sequence[str] | None = None
) -> tuple[VideoClip, ...]:
    """The clips of folder/SPLIT.csv, in its order. labels: those wanted; None for all.

    Raises ValueError for a missing or malformed file, files outside the folder (see `check_inside`), and if
    no clip has a label wanted.
    """
    path = folder / f"{split}.csv"
    if not path.is_file():
        raise ValueError(f"{path}: no such file; `qsep data prepare` makes it from your videos")
    clips = [clip_of(row, path) for row in read_list(path)[0]]
    check_inside((file for clip in clips for file in (clip.audio, clip.frames)), path)
    if labels is not None:
        clips = [clip for clip in clips if clip.label in labels]
    if not clips:
        raise ValueError(f"{path}: lists no clips with the labels of the recipe")
    return tuple(clips)


def clip_of(row: list[str], path: Path) -> VideoClip:
    """The clip of a row; ValueError for a malformed one. path: of the file, for messages."""
    try:
        audio, frames, num_frames, label = row
        clip = VideoClip(audio, frames, int(num_frames), label)
    except ValueError:
        raise ValueError(
            f"{path}: expected rows of audio, frames, number of frames, label; got {','.join(row)}"
        ) from None
    if clip.num_frames < MIN_FRAMES:
        raise ValueError(
            f"{path}: {audio} has {num_frames} frames; at least {MIN_FRAMES} are needed"
        )
    return clip


def index_text(clips: Iterable[VideoClip]) -> str:
    """The content of an index file."""
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\n").writerows(
        inert((clip.audio, clip.frames, clip.num_frames, clip.label)) for clip in clips
    )
    return file.getvalue()

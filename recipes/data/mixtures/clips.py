"""Lists of labelled recordings, and their waveforms in memory."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qsep.queries.files.tables import Rows, as_table
from qsep.separation.audio.reader import AudioError, read_mono
from qsep.separation.audio.source import called
from qsep.separation.storage.listed_paths import check_inside
from qsep.separation.storage.temporary import scratch_folder

from ..corpus.shards import INDEX, read_shards


@dataclass(frozen=True)
class Clip:
    """file: relative to the data folder. label: of its only sound. group: recordings of one origin, such as a
    session, share a group; the file name if the list has no groups."""

    file: str
    label: str
    group: str = ""


def read_clip_list(folder: Path, split: str, labels: Sequence[str] | None = None) -> list[Clip]:
    """The clips of one split in folder/clips.csv (columns file, label, split and optionally group).

    folder: a corpus, or the shards that `qsep data shard` made of it. labels: those wanted; None for all.
    Raises ValueError for a missing list, column, recording or label, an empty split, and files outside the
    folder (see `check_inside`).
    """
    path = folder / "clips.csv"
    if not path.is_file():
        raise ValueError(
            f"{path}: no such file; data.folder must hold clips.csv and its recordings"
        )
    with path.open(newline="", encoding="utf-8-sig") as file, as_table(path):
        rows = Rows(file)
        lacking = {"file", "label", "split"} - set(rows.fieldnames or ())
        if lacking:
            raise ValueError(f"{path}: no column {', '.join(sorted(lacking))}")
        clips = [
            Clip(r["file"], r["label"], r.get("group") or r["file"])
            for r in rows
            if r["split"] == split
        ]
    check_inside((clip.file for clip in clips), path)
    if labels is not None:
        clips = [clip for clip in clips if clip.label in labels]
        absent = sorted(set(labels) - {clip.label for clip in clips})
        if absent:
            raise ValueError(f"{path}: no clips of {absent[0]!r} in split {split!r}")
    packed = (folder / INDEX).is_file()
    missing = [clip.file for clip in clips if not packed and not (folder / clip.file).is_file()]
    if missing:
        raise ValueError(f"{folder}: {len(missing)} recordings are missing, first {missing[0]}")
    if not clips:
        raise ValueError(f"{path}: no clips of split {split!r}")
    return clips


def open_clips(
    folder: Path, split: str, labels: Sequence[str] | None
) -> Iterator[tuple[Clip, Path | io.BytesIO]]:
    """The clips of one split and their files, in the order of the list.

    Raises ValueError as `read_clip_list`, and `read_shards` for shards.
    """
    if not (folder / INDEX).is_file():
        for clip in read_clip_list(folder, split, labels):
            yield clip, folder / clip.file
        return
    packed = sorted(read_shards(folder, split), key=lambda entry: entry.row_index)
    if not packed:
        raise ValueError(f"{folder / INDEX}: no clips of split {split!r}")
    absent = sorted(set(labels or ()) - {entry.row["label"] for entry in packed})
    if absent:
        raise ValueError(f"{folder / INDEX}: no clips of {absent[0]!r} in split {split!r}")
    for row, _, content in packed:
        if labels is None or row["label"] in labels:
            clip = Clip(row["file"], row["label"], row.get("group") or row["file"])
            yield clip, io.BytesIO(content)


def load_mono(file: Path | io.BytesIO, sample_rate: int) -> np.ndarray:
    """A recording at sample_rate, channels averaged: (t,) float32. Raises AudioError if it cannot be read."""
    if isinstance(file, Path):
        return read_mono(file, sample_rate)
    with scratch_folder() as scratch:
        unpacked = scratch / "clip"
        unpacked.write_bytes(file.getbuffer())
        with called(unpacked, "a clip in a shard"):
            return read_mono(unpacked, sample_rate)


@dataclass(frozen=True)
class Take:
    """One recording in memory. waveform: (t,) int16. group: of its clip."""

    waveform: np.ndarray
    group: str


class ClipStore:
    """All recordings of a list, decoded once: by_label[label] is a list of (t,) float32.

    Raises ValueError as `read_clip_list`, and for silent recordings.
    """

    def __init__(
        self, folder: Path, split: str, sample_rate: int, labels: Sequence[str] | None = None
    ) -> None:
        self.by_label: dict[str, list[np.ndarray]] = {}
        for clip, file in open_clips(folder, split, labels):
            waveform = load_mono(file, sample_rate)
            if not waveform.any():
                raise ValueError(f"{folder / clip.file}: silent: remove it from the list")
            self.by_label.setdefault(clip.label, []).append(waveform)


def load_takes(
    folder: Path, split: str, sample_rate: int, labels: Sequence[str] | None = None
) -> dict[str, list[Take]]:
    """All recordings of a list by label, in 16 bits, which takes half the memory of float32.

    folder: a corpus, or the shards that `qsep data shard` made of it; both give the same takes in the same
    order. Raises ValueError as `open_clips`, and for silent and unreadable recordings.
    """
    takes: dict[str, list[Take]] = {}
    for clip, file in open_clips(folder, split, labels):
        try:
            waveform = load_mono(file, sample_rate)
        except AudioError as error:
            # Of a clip in a shard the error names the shard's copy only.
            name = "" if isinstance(file, Path) else f"{folder / clip.file}: "
            raise ValueError(f"{name}{error}") from error
        if not waveform.any():
            raise ValueError(f"{folder / clip.file}: silent: remove it from the list")
        scaled = np.clip(np.round(waveform * 32768), -32768, 32767).astype(np.int16)
        takes.setdefault(clip.label, []).append(Take(scaled, clip.group))
    return takes

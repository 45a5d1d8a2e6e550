"""Lists of labelled recordings, and their sound in memory."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qsep.separation.audio.reader import AudioError, read_mono
from qsep.separation.storage.results import is_inside

from ..corpus.shards import INDEX, read_shards


@dataclass(frozen=True)
class Clip:
    """file: relative to the data folder; label: the one kind of sound it holds; group: what it shares its
    origin with (a session, a speaker, a kit), the file itself where the list names none."""

    file: str
    label: str
    group: str = ""


def read_clip_list(folder: Path, split: str, labels: Sequence[str] | None = None) -> list[Clip]:
    """The clips of one split in folder/clips.csv (columns file, label, split; others are ignored).

    labels: those wanted, each of which must be there; None for all.
    """
    path = folder / "clips.csv"
    if not path.is_file():
        raise ValueError(
            f"{path}: no such file; data.folder must hold clips.csv and its recordings"
        )
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        lacking = {"file", "label", "split"} - set(rows.fieldnames or ())
        if lacking:
            raise ValueError(f"{path}: no column {', '.join(sorted(lacking))}")
        clips = [
            Clip(r["file"], r["label"], r.get("group") or r["file"])
            for r in rows
            if r["split"] == split
        ]
    if outside := [clip.file for clip in clips if not is_inside(clip.file)]:
        raise ValueError(f"{path}: {outside[0]} lies outside its folder: copy or link it into that")
    if labels is not None:
        clips = [clip for clip in clips if clip.label in labels]
        unheard = sorted(set(labels) - {clip.label for clip in clips})
        if unheard:
            raise ValueError(f"{path}: no clips of {unheard[0]!r} in split {split!r}")
    missing = [clip.file for clip in clips if not (folder / clip.file).is_file()]
    if missing:
        raise ValueError(f"{folder}: {len(missing)} recordings are missing, first {missing[0]}")
    if not clips:
        raise ValueError(f"{path}: no clips of split {split!r}")
    return clips


def open_clips(
    folder: Path, split: str, labels: Sequence[str] | None
) -> Iterator[tuple[Clip, Path | io.BytesIO]]:
    """The clips of one split and their files, in the order of the list."""
    if not (folder / INDEX).is_file():
        for clip in read_clip_list(folder, split, labels):
            yield clip, folder / clip.file
        return
    packed = sorted(read_shards(folder, split), key=lambda entry: entry.place)
    if not packed:
        raise ValueError(f"{folder / INDEX}: no clips of split {split!r}")
    unheard = sorted(set(labels or ()) - {entry.row["label"] for entry in packed})
    if unheard:
        raise ValueError(f"{folder / INDEX}: no clips of {unheard[0]!r} in split {split!r}")
    for row, _, content in packed:
        if labels is None or row["label"] in labels:
            clip = Clip(row["file"], row["label"], row.get("group") or row["file"])
            yield clip, io.BytesIO(content)


def load_mono(file: Path | io.BytesIO, sample_rate: int) -> np.ndarray:
    """A recording at sample_rate, channels averaged: (t,) float32."""
    if isinstance(file, Path):
        return read_mono(file, sample_rate)
    with tempfile.NamedTemporaryFile() as unpacked:
        unpacked.write(file.getbuffer())
        unpacked.flush()
        return read_mono(Path(unpacked.name), sample_rate)


@dataclass(frozen=True)
class Take:
    """One recording in memory: waveform (t,) int16; group as of its clip."""

    waveform: np.ndarray
    group: str


class ClipStore:
    """All recordings of a list, decoded once: by_label[label] is a list of (t,) float32."""

    def __init__(
        self, folder: Path, split: str, sample_rate: int, labels: Sequence[str] | None = None
    ) -> None:
        self.by_label: dict[str, list[np.ndarray]] = {}
        for clip in read_clip_list(folder, split, labels):
            waveform = load_mono(folder / clip.file, sample_rate)
            if not waveform.any():
                raise ValueError(f"{folder / clip.file}: silent; take it off the list")
            self.by_label.setdefault(clip.label, []).append(waveform)


def load_takes(
    folder: Path, split: str, sample_rate: int, labels: Sequence[str] | None = None
) -> dict[str, list[Take]]:
    """All recordings of a list by label, in 16 bits: half the memory of float32.

    folder: a corpus, or the shards that `qsep data shard` made of it, which give the same in the same order.
    """
    takes: dict[str, list[Take]] = {}
    for clip, file in open_clips(folder, split, labels):
        try:
            waveform = load_mono(file, sample_rate)
        except AudioError as error:
            raise ValueError(f"{folder / clip.file}: {error}") from error
        if not waveform.any():
            raise ValueError(f"{folder / clip.file}: silent; take it off the list")
        scaled = np.clip(np.round(waveform * 32768), -32768, 32767).astype(np.int16)
        takes.setdefault(clip.label, []).append(Take(scaled, clip.group))
    return takes

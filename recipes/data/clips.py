"""Lists of labelled recordings, and their sound in memory."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr


@dataclass(frozen=True)
class Clip:
    """file: relative to the data folder; label: the one kind of sound it holds."""

    file: str
    label: str


def read_clip_list(folder: Path, split: str) -> list[Clip]:
    """The clips of one split in folder/clips.csv (columns file, label, split; others are ignored)."""
    path = folder / "clips.csv"
    if not path.is_file():
        raise ValueError(
            f"{path}: no such file; data.folder must hold clips.csv and its recordings"
        )
    with path.open(newline="") as file:
        clips = [Clip(r["file"], r["label"]) for r in csv.DictReader(file) if r["split"] == split]
    missing = [clip.file for clip in clips if not (folder / clip.file).is_file()]
    if missing:
        raise ValueError(f"{folder}: {len(missing)} recordings are missing, first {missing[0]}")
    if not clips:
        raise ValueError(f"{path}: no clips of split {split!r}")
    return clips


def load_mono(path: Path, sample_rate: int) -> np.ndarray:
    """A recording at sample_rate, channels averaged: (t,) float32."""
    waveform, file_rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = waveform.mean(axis=1)
    if file_rate != sample_rate:
        mono = soxr.resample(mono, file_rate, sample_rate, quality="HQ")
    return mono.astype(np.float32)


class ClipStore:
    """All recordings of a list, decoded once: by_label[label] is a list of (t,) float32."""

    def __init__(self, folder: Path, split: str, sample_rate: int) -> None:
        self.by_label: dict[str, list[np.ndarray]] = {}
        for clip in read_clip_list(folder, split):
            waveform = load_mono(folder / clip.file, sample_rate)
            if not np.isfinite(waveform).all() or not waveform.any():
                raise ValueError(
                    f"{folder / clip.file}: silent or not finite; take it off the list"
                )
            self.by_label.setdefault(clip.label, []).append(waveform)

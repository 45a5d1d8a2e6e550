"""Measurements of a recording: duration, level, bandwidth, clipping and fingerprint, in one pass."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from qsep.queries.files.threads import in_order
from qsep.separation.audio.reader import AudioError, AudioReader

from .fingerprints import SAMPLE_RATE, Fingerprint, fingerprint

BLOCK_SAMPLES = 1 << 16
FRAME_SECONDS = 0.02
ACTIVE_DB = -40.0  # relative to the loudest frame; louder ones count as active
FULL_SCALE = 0.98  # samples at this magnitude or above may be clipped
CLIPPED_RUN = 3  # consecutive samples of one value that count as clipped
HIGH_HZ = 8000.0
MAX_SECONDS = 600.0  # longer recordings are read up to here


@dataclass(frozen=True)
class Facts:
    """Measurements of one recording, channels averaged.

    sample_rate: in Hz. peak: relative to full scale. level_db: root mean square in dB of full scale. active:
    share of frames within ACTIVE_DB of the loudest. clipped: share of samples. high: share of the energy
    above HIGH_HZ. digest: SHA-256 of the samples in 16 bits. print: audio fingerprint.
    """

    seconds: float
    sample_rate: int
    channels: int
    peak: float
    level_db: float
    active: float
    clipped: float
    high: float
    digest: str
    print: Fingerprint


def read_mono(path: Path) -> tuple[NDArray[np.float32], int, int]:
    """The average of all channels (t,), the sample rate in Hz, and the number of channels.

    Raises ValueError for a file that cannot be read or holds NaN or infinite samples.
    """
    try:
        with AudioReader(path) as reader:
            limit = int(MAX_SECONDS * reader.sample_rate)
            blocks: list[NDArray[np.floating]] = []
            num_read = 0
            for block in reader.blocks(BLOCK_SAMPLES):
                blocks.append(block.mean(axis=0))
                num_read += block.shape[1]
                if num_read >= limit:
                    break
            rate, channels = reader.sample_rate, reader.num_channels
    except AudioError as error:
        raise ValueError(str(error).removeprefix(f"{path} ")) from error
    mono = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    if not np.isfinite(mono).all():
        raise ValueError("holds NaN or infinite samples")
    return mono[:limit].astype(np.float32), rate, channels


def facts_of(mono: NDArray[np.float32], sample_rate: int, channels: int) -> Facts:
    """The facts of a mono waveform (t,). channels: of the file."""
    power = float(np.mean(mono.astype(np.float64) ** 2)) if len(mono) else 0.0
    common = soxr.resample(mono, sample_rate, SAMPLE_RATE) if sample_rate != SAMPLE_RATE else mono
    return Facts(
        round(len(mono) / sample_rate, 3),
        sample_rate,
        channels,
        float(np.abs(mono).max(initial=0.0)),
        10 * float(np.log10(power + 1e-20)),
        active_share(mono, sample_rate),
        clipped_share(mono),
        high_share(mono, sample_rate),
        hashlib.sha256(np.round(mono * 32767).astype(np.int16).tobytes()).hexdigest(),
        fingerprint(common),
    )


def active_share(mono: NDArray[np.float32], sample_rate: int) -> float:
    """Share of 20 ms frames whose level is within ACTIVE_DB of the loudest; 0 for silence."""
    size = max(1, round(FRAME_SECONDS * sample_rate))
    frames = np.pad(mono, (0, -len(mono) % size)).reshape(-1, size)
    levels = np.square(frames).mean(axis=1)
    loudest = levels.max(initial=0.0)
    return float((levels > loudest * 10 ** (ACTIVE_DB / 10)).mean()) if loudest else 0.0


def clipped_share(mono: NDArray[np.float32]) -> float:
    """Share of samples in runs of at least CLIPPED_RUN equal samples at FULL_SCALE or above."""
    loud = np.abs(mono) >= FULL_SCALE
    flat = loud[1:] & loud[:-1] & (np.abs(np.diff(mono)) < 1e-4)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat, [False]])))
    runs = edges[1::2] - edges[::2] + 1
    return float(runs[runs >= CLIPPED_RUN].sum() / max(1, len(mono)))


def high_share(mono: NDArray[np.float32], sample_rate: int) -> float:
    """Share of the energy above HIGH_HZ, from Hann windows; 0 for rates that hold nothing so high."""
    size = 2048
    if sample_rate <= 2 * HIGH_HZ or not len(mono):
        return 0.0
    frames = np.pad(mono, (0, -len(mono) % size)).reshape(-1, size)
    power = (np.abs(np.fft.rfft(frames * np.hanning(size))) ** 2).sum(axis=0)
    high = power[np.fft.rfftfreq(size, 1 / sample_rate) > HIGH_HZ].sum()
    return float(high / max(power.sum(), 1e-20))


def measure_all(
    paths: Iterable[Path],
    num_jobs: int,
    progress: Callable[[float, float], object] | None = None,
) -> dict[Path, Facts | str]:
    """The facts of each file, or in words what is wrong with it.

    num_jobs: files decoded in parallel. progress: called with (files done, files in all).
    """

    def measure(path: Path) -> Facts | str:
        try:
            return facts_of(*read_mono(path))
        except (ValueError, OSError) as error:
            return str(error)

    distinct = list(dict.fromkeys(paths))
    facts: dict[Path, Facts | str] = {}
    with closing(in_order(measure, distinct, num_jobs)) as outcomes:
        for path, outcome in outcomes:
            facts[path] = outcome
            if progress:
                progress(len(facts), len(distinct))
    return facts

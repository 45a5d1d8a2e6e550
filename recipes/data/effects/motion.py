"""Sources that move on a straight line: the direct sound and the first reflections with changing delays.

The delay changes from sample to sample, which gives the Doppler effect. Later reflections are those of the
middle of the path (as in gpuRIR of Diaz-Guerra et al. 2021, which interpolates all of them).
"""

from __future__ import annotations

import math

import numpy as np
import soxr

from qsep.separation.signal.arrays import SOUND_MPS

from .rooms import MARGIN_METERS, Room, first_images

OVERSAMPLING = 4  # linear interpolation then loses 0.4 dB at three quarters of the band
CONTROL_SAMPLES = 64  # delays are computed so often and interpolated linearly
ITERATIONS = 3


def moved(
    waveform: np.ndarray,
    room: Room,
    start: np.ndarray,
    end: np.ndarray,
    sample_rate: int,
    direct: float | None = None,
) -> np.ndarray:
    """The direct sound and the first reflections of a source that moves from start to end: (t,) float32.

    waveform: (t,). start, end: (3,) in metres. Delays and gains are relative to the direct sound at the
    start, or from a distance `direct` in metres.
    """
    num_samples = len(waveform)
    direct = room.distance(start) if direct is None else direct
    num_blocks = -(-num_samples // CONTROL_SAMPLES)
    arrivals = np.arange(num_blocks + 1) * CONTROL_SAMPLES
    sent, gains = [], []
    pairs = zip(first_images(room, start), first_images(room, end), strict=True)
    for (first, order), (last, _) in pairs:
        time = arrivals.astype(np.float64)
        for _ in range(ITERATIONS):  # arrivals + direct / c = time + distance(time) / c
            path = first + np.clip(time / num_samples, 0, 1)[:, None] * (last - first)
            distance = np.maximum(np.linalg.norm(path - room.listener, axis=1), MARGIN_METERS)
            time = arrivals - (distance - direct) / SOUND_MPS * sample_rate
        sent.append(time * OVERSAMPLING)
        gains.append((room.reflection**order * direct / distance).astype(np.float32))
    dense = soxr.resample(waveform, 1, OVERSAMPLING, quality="HQ")
    before = max(0, math.ceil(-min(times.min() for times in sent)))
    after = max(0, math.ceil(max(times.max() for times in sent)) + 2 - len(dense))
    dense = np.pad(dense, (before, after))  # silence before the sound and after it
    total = np.zeros(num_blocks * CONTROL_SAMPLES, np.float32)
    for times, gain in zip(sent, gains, strict=True):
        total += filled(gain) * interpolated(dense, filled(times + before))
    return total[:num_samples]


def filled(values: np.ndarray) -> np.ndarray:
    """Values at the boundaries of blocks, (n + 1,), interpolated linearly: (n * CONTROL_SAMPLES,)."""
    share = np.arange(CONTROL_SAMPLES, dtype=values.dtype) / values.dtype.type(CONTROL_SAMPLES)
    return (values[:-1, None] + np.diff(values)[:, None] * share).ravel()


def interpolated(waveform: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The waveform (t,) at positions (n,) from 0 to t - 1, between its samples on straight lines."""
    whole = positions.astype(np.int32)
    here = waveform[whole]
    return here + (waveform[whole + 1] - here) * (positions - whole).astype(np.float32)

"""Sounds whose character changes, and queries that they make."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsep.queries.interface import AudioQuery

RATE = 48000


def sound(seconds: float, rate: int = RATE, seed: int = 0) -> NDArray[np.float32]:
    """A glide over noise, whose character changes as it goes on."""
    time = np.arange(round(seconds * rate)) / rate
    noise = (
        np.random.default_rng(seed).standard_normal(len(time)) * 0.1 * (1 + np.sin(7 * time + seed))
    )
    glide = np.sin(2 * np.pi * (300 + 200 * seed + 90 * time) * time)
    return (0.3 * glide + noise).astype(np.float32)


def audio(*examples: Any, rate: int = RATE) -> AudioQuery:
    return AudioQuery(*examples, sample_rate=rate)

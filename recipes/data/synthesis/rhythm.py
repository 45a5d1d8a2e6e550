"""When things happen, and placing short sounds there."""

from __future__ import annotations

import numpy as np


def beats(
    generator: np.random.Generator,
    duration_seconds: float,
    period_seconds: float,
    jitter_seconds: float,
) -> np.ndarray:
    """Regular onsets in seconds from a random start within a period, each displaced a little."""
    first = generator.uniform(0, min(period_seconds, 0.8 * duration_seconds))
    onsets = np.arange(first, duration_seconds, period_seconds)
    return np.maximum(onsets + generator.normal(0, jitter_seconds, len(onsets)), 0)


def scattered(
    generator: np.random.Generator, num_samples: int, num_events: int, spread_db: float
) -> np.ndarray:
    """Impulses at uniformly random samples (a Poisson process, given its count): (t,).

    Log-normal sizes of random sign; spread_db: their standard deviation.
    """
    impulses = np.zeros(num_samples, np.float32)
    sizes = 10 ** (generator.normal(0, spread_db, num_events) / 20)
    signs = generator.choice([-1.0, 1.0], num_events)
    np.add.at(impulses, generator.integers(0, num_samples, num_events), sizes * signs)
    return impulses


def add_at(waveform: np.ndarray, start: int, sound: np.ndarray) -> None:
    """Adds sound into waveform, in place, from sample start; what passes the end is dropped."""
    room = waveform[start : start + len(sound)]
    room += sound[: len(room)]


def swell(
    num_samples: int, sample_rate: int, attack_seconds: float, release_seconds: float
) -> np.ndarray:
    """1 between a rise from 0 and a fall to 0, each half a cosine: (t,) in [0, 1]."""
    times = np.arange(num_samples, dtype=np.float32) / sample_rate
    edges = np.minimum(
        times / attack_seconds, (num_samples / sample_rate - times) / release_seconds
    )
    return 0.5 - 0.5 * np.cos(np.pi * np.clip(edges, 0, 1))

"""Synthetic sounds for training without recordings: every draw is a new sound."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..synthetic import KINDS, synthesize
from .clips import Take
from .mix_and_separate import active_stretch

# No kind is silent for its first second (100 seeds each at four rates); two hold several barks.
MIN_SECONDS = 2.0
NUM_TAKES, TAKE_SECONDS, TAKES_SEED = 6, 4.0, 21


def check_synthetic(labels: Iterable[str]) -> None:
    """Raise ValueError for a label that is not of KINDS."""
    if unknown := sorted(set(labels) - KINDS.keys()):
        raise ValueError(f"data.labels: no synthesis of {unknown[0]!r}; known: {', '.join(KINDS)}")


class SyntheticSounds:
    """`Sounds` of the synthesiser in ..synthetic, which never repeats itself.

    labels: of KINDS, else ValueError. sample_rate: in Hz.
    """

    def __init__(self, labels: tuple[str, ...], sample_rate: int) -> None:
        check_synthetic(labels)
        self.labels = labels
        self.sample_rate = sample_rate

    def draw(self, label: str, num_samples: int, rng: np.random.Generator) -> np.ndarray:
        """A stretch of a new sound, not silent: (num_samples,) float32."""
        length = max(num_samples, round(MIN_SECONDS * self.sample_rate))
        return active_stretch(synthesize(label, rng, length, self.sample_rate), num_samples, rng)


def synthetic_takes(sample_rate: int) -> dict[str, list[Take]]:
    """A few synthetic sounds of every class, always the same, each in its own group, by label."""
    length = round(TAKE_SECONDS * sample_rate)
    takes: dict[str, list[Take]] = {}
    for label in KINDS:
        for number in range(NUM_TAKES):
            rng = np.random.default_rng((TAKES_SEED, number))
            waveform = synthesize(label, rng, length, sample_rate)
            scaled = np.round(waveform * 32767).astype(np.int16)
            takes.setdefault(label, []).append(Take(scaled, f"synthetic {label} {number}"))
    return takes

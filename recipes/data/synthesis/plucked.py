"""Acoustic guitar and plucked double bass: partials of a stiff string, each with its own decay."""

from __future__ import annotations

import numpy as np

from .melody import note_seconds, scale_walk
from .oscillators import harmonics_below_nyquist, ring
from .rhythm import add_at
from .shaping import Curve, coloured_noise, normalize_peak, rippled, shape_spectrum
from .sustained import bowed_double_bass

GUITAR_BODY: Curve = (
    # air at 100 Hz, top plate at 200 Hz (Fletcher and Rossing, ch. 9)
    (60, -10), (100, 0), (200, 3), (400, -1), (1000, -3), (3000, -8), (6000, -12), (12000, -24),
)  # fmt: skip
BASS_BODY: Curve = ((35, -4), (70, 2), (150, 2), (400, -3), (1000, -5), (3000, -14), (8000, -30))


def pluck(
    generator: np.random.Generator,
    num_samples: int,
    sample_rate: int,
    pitch_hz: float,
    decay_seconds: float,
    position: float,
    stiffness: float,
) -> np.ndarray:
    """One string let go at this part of its length, in (0, 0.5]: (t,).

    Partial k is at k f0 sqrt(1 + stiffness k^2), of size sin(pi k position) / k: a pointed bend
    starts as 1 / k^2, the bridge's force as 1 / k. High partials die first.
    """
    harmonics = harmonics_below_nyquist(pitch_hz, sample_rate, 40).astype(float)
    partials_hz = pitch_hz * harmonics * np.sqrt(1 + stiffness * harmonics**2)
    sizes = np.sin(np.pi * harmonics * position) / harmonics
    sizes *= np.exp(generator.normal(0, 0.4, len(harmonics)))
    decays = decay_seconds / (1 + (partials_hz / 1800) ** 0.8)
    decays *= np.exp(generator.normal(0, 0.25, len(harmonics)))
    phases = generator.uniform(-0.3, 0.3, len(harmonics)) - np.pi / 2
    return ring(num_samples, sample_rate, partials_hz, decays, sizes, phases)


def acoustic_guitar(
    generator: np.random.Generator, num_samples: int, sample_rate: int
) -> np.ndarray:
    """Single notes, a picked tune, or strummed chords, A2 to E5."""
    style = generator.choice(["tune", "chords"], p=[0.7, 0.3])
    seconds = note_seconds(generator, num_samples / sample_rate)
    roots_hz = scale_walk(generator, len(seconds), 45, 76 if style == "tune" else 55)
    chord = np.array([0, 7, 12, 16, 19]) if style == "chords" else np.array([0])
    notes = [(root, root * 2 ** (chord / 12)) for root in roots_hz]
    strings = [pitches for _, pitches in notes]
    return _picked(generator, num_samples, sample_rate, seconds, strings, GUITAR_BODY, (2.0, 7.0))


def double_bass(generator: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """Plucked as in jazz, or bowed, in equal parts."""
    if generator.random() < 0.5:
        return bowed_double_bass(generator, num_samples, sample_rate)
    seconds = note_seconds(generator, num_samples / sample_rate)
    strings = [np.array([hz]) for hz in scale_walk(generator, len(seconds), 28, 52)]
    return _picked(generator, num_samples, sample_rate, seconds, strings, BASS_BODY, (1.0, 4.0))


def _picked(
    generator: np.random.Generator,
    num_samples: int,
    sample_rate: int,
    seconds: np.ndarray,
    strings: list[np.ndarray],
    body: Curve,
    decay_range: tuple[float, float],
) -> np.ndarray:
    """The strings' pitches in Hz of each note, its own length apart, through the body."""
    starts = (np.concatenate([[0], np.cumsum(seconds)[:-1]]) * sample_rate).astype(int)
    decay_seconds = generator.uniform(*decay_range)
    position, stiffness = generator.uniform(0.08, 0.35), generator.uniform(0.00002, 0.0003)
    picked = np.zeros(num_samples, np.float32)
    for start, length, pitches in zip(starts, seconds, strings, strict=True):
        # a finger stops the string when the next note begins, most of it within 60 ms
        size = int(min(num_samples - start, (length + 0.06) * sample_rate))
        if size <= 0:
            break
        fade = np.minimum((size - np.arange(size)) / (0.06 * sample_rate), 1)
        strum_seconds = generator.uniform(0.004, 0.03)
        for place, pitch_hz in enumerate(pitches):
            note = pluck(generator, size, sample_rate, pitch_hz, decay_seconds, position, stiffness)
            note *= (fade * generator.uniform(0.5, 1)).astype(np.float32)
            add_at(picked, start + int(place * strum_seconds * sample_rate), note)
        size = int(0.02 * sample_rate)
        finger = coloured_noise(generator, size, sample_rate, ((200, 0), (2000, -3), (8000, -12)))
        finger *= np.exp(-np.arange(size) / (0.004 * sample_rate))
        add_at(picked, start, finger.astype(np.float32) * 0.15)
    return normalize_peak(shape_spectrum(picked, sample_rate, rippled(generator, body, 4)))

"""Which notes an instrument plays, and how loud it is at each sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .rhythm import swell
from .shaping import wander

MAJOR_SEMITONES = np.array([0, 2, 4, 5, 7, 9, 11])


@dataclass(frozen=True)
class Melody:
    """notes_hz: (notes,); note: (t,) which of them sounds; pitch_hz: (t,), vibrato included;
    level: (t,) in [0, 1], 0 between notes; starts: (notes,) in samples."""

    notes_hz: np.ndarray
    note: np.ndarray
    pitch_hz: np.ndarray
    level: np.ndarray
    starts: np.ndarray


@dataclass(frozen=True)
class Playing:
    """An instrument's range in MIDI notes (69 is 440 Hz) and its player's habits.

    attack_seconds and release_seconds: ranges to draw from; vibrato_cents: largest deviation;
    drift_cents: standard deviation of the pitch's slow error.
    """

    low_midi: int
    high_midi: int
    attack_seconds: tuple[float, float]
    release_seconds: tuple[float, float]
    vibrato_cents: float
    drift_cents: float = 4.0


def scale_walk(
    generator: np.random.Generator, num_notes: int, low_midi: int, high_midi: int
) -> np.ndarray:
    """Frequencies in Hz of a random walk over a major scale, by up to a fifth a step: (notes,)."""
    midi = np.arange(low_midi, high_midi + 1)
    ladder = midi[np.isin((midi - generator.integers(12)) % 12, MAJOR_SEMITONES)]
    place = int(generator.integers(len(ladder)))
    places = []
    for step in generator.integers(-4, 5, num_notes):
        places.append(place)
        place = int(np.clip(place + step, 0, len(ladder) - 1))
    return 440 * 2 ** ((ladder[places] - 69) / 12)


def note_seconds(generator: np.random.Generator, duration_seconds: float) -> np.ndarray:
    """Lengths of notes that fill the duration: long tones, a tune, or a run, with some variety."""
    typical = generator.choice([generator.uniform(1.2, 5), generator.uniform(0.3, 0.9), 0.18])
    lengths = typical * generator.choice([0.5, 1, 1, 1, 2], 1 + int(2 * duration_seconds / typical))
    return lengths[: 1 + int(np.searchsorted(np.cumsum(lengths), duration_seconds))]


def improvise(
    generator: np.random.Generator, num_samples: int, sample_rate: int, playing: Playing
) -> Melody:
    """A melody of num_samples in the instrument's range."""
    lengths = note_seconds(generator, num_samples / sample_rate)
    notes_hz = scale_walk(generator, len(lengths), playing.low_midi, playing.high_midi)
    ends = np.minimum((np.cumsum(lengths) * sample_rate).astype(int), num_samples)
    ends[-1] = num_samples
    return perform(generator, notes_hz, ends, sample_rate, playing)


def perform(
    generator: np.random.Generator,
    notes_hz: np.ndarray,
    ends: np.ndarray,
    sample_rate: int,
    playing: Playing,
) -> Melody:
    """The melody with these notes, each until its end in samples; the last end is the length."""
    num_samples = int(ends[-1])
    starts = np.concatenate([[0], ends[:-1]])
    note = np.repeat(np.arange(len(ends)), ends - starts)
    attack = generator.uniform(*playing.attack_seconds)
    release = generator.uniform(*playing.release_seconds)
    sounding = generator.uniform(0.6, 1.0)  # of each note: staccato to legato
    level = np.zeros(num_samples, np.float32)
    for start, end in zip(starts, ends, strict=True):
        size = max(1, int((end - start) * sounding))
        loud = generator.uniform(0.6, 1) * swell(size, sample_rate, attack, release)
        decay = generator.uniform(0, 0.5) * np.linspace(0, 1, size, dtype=np.float32)
        level[start : start + size] = loud * (1 - decay)
    times = np.arange(num_samples, dtype=np.float32) / sample_rate
    depth = generator.uniform(0, playing.vibrato_cents)
    cents = depth * np.sin(2 * np.pi * generator.uniform(4.5, 6.5) * times)
    cents += playing.drift_cents * wander(generator, num_samples, sample_rate, 8)
    pitch_hz = notes_hz[note] * 2 ** (cents / 1200)
    return Melody(notes_hz, note, pitch_hz, level, starts)

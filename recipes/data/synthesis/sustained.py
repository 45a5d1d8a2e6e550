"""Flute, clarinet, saxophone, and bowed strings: one period's harmonics, shaped by a body."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .melody import Melody, Playing, improvise
from .oscillators import cycles, harmonics_below_nyquist, play, wavetable
from .shaping import Curve, coloured_noise, normalize_peak, rippled, shape_spectrum, wander


@dataclass(frozen=True)
class Voice:
    """How an instrument sounds.

    slope_db: fall of its source's harmonics an octave, a range to draw from; even_db: level of
    harmonics 2, 4 and 6 re the odd ones; body: the filter after the source, ripple_db its
    roughness; breath_db: noise re the tone, a range; breath: its colour; dark_db: how much more
    the harmonics fall an octave when played softly.
    """

    playing: Playing
    slope_db: tuple[float, float]
    body: Curve
    ripple_db: float
    breath_db: tuple[float, float]
    breath: Curve
    even_db: float = 0.0
    dark_db: float = 6.0


FLUTE = Voice(
    Playing(60, 88, (0.03, 0.12), (0.06, 0.3), vibrato_cents=25),
    slope_db=(-14, -7),
    body=((200, -6), (500, 0), (1500, -2), (3000, -14), (6000, -30), (12000, -40)),
    ripple_db=3,
    breath_db=(-52, -32),
    breath=((200, -14), (600, 0), (2500, -4), (8000, -14)),
)
CLARINET = Voice(
    Playing(50, 82, (0.02, 0.08), (0.05, 0.25), vibrato_cents=5),
    slope_db=(-6, -2),
    body=((150, 0), (1400, 0), (2500, -14), (4500, -30), (9000, -44)),
    ripple_db=3,
    breath_db=(-62, -42),
    breath=((200, -6), (1500, 0), (6000, -16)),
    even_db=-16,
)
SAXOPHONE = Voice(
    Playing(49, 81, (0.015, 0.08), (0.05, 0.3), vibrato_cents=22),
    slope_db=(-7, -3),
    body=((120, -8), (500, 0), (1000, 0), (1800, -8), (3500, -20), (8000, -38)),
    ripple_db=3,
    breath_db=(-54, -36),
    breath=((300, -6), (1500, 0), (8000, -16)),
)
VIOLIN = Voice(
    Playing(55, 88, (0.02, 0.15), (0.08, 0.5), vibrato_cents=35),
    slope_db=(-7, -5),
    # air resonance 280 Hz, body 450 to 550 Hz, bridge hill 2 to 4 kHz (Dünnwald, 1991)
    body=((180, -14), (280, 0), (500, 2), (1000, -2), (2600, 5), (4000, -2), (7000, -14)),
    ripple_db=5,
    breath_db=(-50, -34),
    breath=((300, -10), (1500, 0), (4000, 0), (10000, -12)),
)
CELLO = Voice(
    Playing(36, 69, (0.03, 0.15), (0.1, 0.6), vibrato_cents=30),
    slope_db=(-7, -5),
    body=((60, -8), (110, 0), (250, 2), (600, -4), (1500, -3), (3000, -14), (6000, -30)),
    ripple_db=5,
    breath_db=(-52, -36),
    breath=((150, -6), (800, 0), (3000, -10), (9000, -26)),
)
DOUBLE_BASS = Voice(
    Playing(28, 55, (0.04, 0.15), (0.1, 0.6), vibrato_cents=18),
    slope_db=(-9, -6),
    body=((35, -4), (70, 2), (120, 2), (250, -1), (600, -5), (1500, -8), (3500, -20), (8000, -36)),
    ripple_db=4,
    breath_db=(-52, -38),
    breath=((80, -4), (500, 0), (2000, -14), (8000, -32)),
)


def flute(generator: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """Few harmonics, breath noise."""
    return _improvised(generator, num_samples, sample_rate, FLUTE)


def clarinet(generator: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """A closed cylinder: odd harmonics above the low even ones, nearly no vibrato."""
    return _improvised(generator, num_samples, sample_rate, CLARINET)


def saxophone(generator: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """A cone: all harmonics, strongest about 500 to 1,000 Hz."""
    return _improvised(generator, num_samples, sample_rate, SAXOPHONE)


def violin(generator: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """The bow's sawtooth through the body."""
    return _improvised(generator, num_samples, sample_rate, VIOLIN)


def cello(generator: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """Bowed, C2 to A4."""
    return _improvised(generator, num_samples, sample_rate, CELLO)


def bowed_double_bass(
    generator: np.random.Generator, num_samples: int, sample_rate: int
) -> np.ndarray:
    """Bowed, E1 to G3."""
    return _improvised(generator, num_samples, sample_rate, DOUBLE_BASS)


def _improvised(
    generator: np.random.Generator, num_samples: int, sample_rate: int, voice: Voice
) -> np.ndarray:
    melody = improvise(generator, num_samples, sample_rate, voice.playing)
    return normalize_peak(render(generator, melody, sample_rate, voice))


def render(
    generator: np.random.Generator, melody: Melody, sample_rate: int, voice: Voice
) -> np.ndarray:
    """The melody in this voice: (t,), of no particular level.

    Each note has a soft and a loud period, mixed by its level: playing louder adds overtones.
    """
    num_samples = len(melody.note)
    slope_db = generator.uniform(*voice.slope_db)
    roughness_db = generator.normal(0, 2.5, 80)
    soft, loud = [], []
    for note_hz in melody.notes_hz:
        harmonics = harmonics_below_nyquist(note_hz * 1.03, sample_rate)
        db = slope_db * np.log2(harmonics) + roughness_db[: len(harmonics)]
        db += voice.even_db * np.isin(harmonics, (2, 4, 6))
        period = wavetable(generator, 10 ** (db / 20))
        phase_free = np.fft.rfft(period)  # the same phases soft and loud, or they would cancel
        fall = np.ones(len(phase_free))
        fall[1 : len(harmonics) + 1] = 10 ** (-voice.dark_db * np.log2(harmonics) / 20)
        loud.append(period)
        soft.append(np.fft.irfft(phase_free * fall).astype(np.float32))
    phase = cycles(melody.pitch_hz, sample_rate)
    level = melody.level * (1 + 0.06 * wander(generator, num_samples, sample_rate, 12))
    tone = play(np.stack(soft), melody.note, phase) * (1 - level)
    tone += play(np.stack(loud), melody.note, phase) * level
    body = rippled(generator, voice.body, voice.ripple_db)
    tone = shape_spectrum(tone * level, sample_rate, body)
    breath = coloured_noise(generator, num_samples, sample_rate, voice.breath)
    onset = np.zeros(num_samples, np.float32)
    for start in melody.starts:  # the chiff of an attack: twice the noise, gone in some 50 ms
        size = min(int(0.2 * sample_rate), num_samples - start)
        onset[start : start + size] = np.exp(-np.arange(size) / (0.05 * sample_rate))
    breath *= level**0.5 * (1 + onset) * 10 ** (generator.uniform(*voice.breath_db) / 20)
    return tone + breath * tone.std()

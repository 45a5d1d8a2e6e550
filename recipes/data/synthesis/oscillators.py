"""The two sources of pitch: tables of one period, and modes that ring after a blow."""

from __future__ import annotations

import numpy as np

TABLE_SAMPLES = 8192  # the nearest entry is wrong by -73 dB at the fundamental


def harmonics_below_nyquist(pitch_hz: float, sample_rate: int, most: int = 80) -> np.ndarray:
    """1, 2, … up to 90 % of the Nyquist frequency, at least one: (k,)."""
    return np.arange(1, 1 + min(most, max(1, int(0.45 * sample_rate / pitch_hz))))


def wavetable(generator: np.random.Generator, amplitudes: np.ndarray) -> np.ndarray:
    """One period with these amplitudes of harmonics 1, 2, … at random phases, of unit
    root mean square: (TABLE_SAMPLES,)."""
    spec = np.zeros(TABLE_SAMPLES // 2 + 1, complex)
    phases = generator.uniform(0, 2 * np.pi, len(amplitudes))
    spec[1 : len(amplitudes) + 1] = amplitudes * np.exp(1j * phases)
    return _unit_period(spec)


def glottal_table(num_harmonics: int, slope_db: float) -> np.ndarray:
    """A pulse a period, harmonics falling by slope_db an octave, of unit root mean square.

    Equal phases keep the pulse, which makes a voice buzz at low pitches. -12 dB an octave is the
    glottal flow of a calm voice (Fant, 1960); a shout falls by 6.
    """
    spec = np.zeros(TABLE_SAMPLES // 2 + 1, complex)
    harmonics = np.arange(1, num_harmonics + 1)
    spec[1 : num_harmonics + 1] = harmonics ** (slope_db / 6.02)
    return _unit_period(spec)


def _unit_period(spec: np.ndarray) -> np.ndarray:
    period = np.fft.irfft(spec)
    return (period / period.std()).astype(np.float32)


def cycles(pitch_hz: np.ndarray, sample_rate: int) -> np.ndarray:
    """The integral of pitch_hz (t,), in periods: (t,) float64."""
    return np.cumsum(pitch_hz, dtype=np.float64) / sample_rate


def play(tables: np.ndarray, rows: np.ndarray | int, phase_cycles: np.ndarray) -> np.ndarray:
    """Reads tables (notes, TABLE_SAMPLES) at row rows (t,) and phase (t,): (t,)."""
    column = (phase_cycles * TABLE_SAMPLES).astype(np.int64) & (TABLE_SAMPLES - 1)
    return tables.reshape(-1)[column + np.asarray(rows) * TABLE_SAMPLES]


def ring(
    num_samples: int,
    sample_rate: int,
    frequencies_hz: np.ndarray,
    decay_seconds: np.ndarray,
    amplitudes: np.ndarray,
    phases: np.ndarray,
) -> np.ndarray:
    """Damped sines, summed: each amplitude falls by 60 dB in its decay_seconds. (t,)

    With sample number n = 256 i + j, exp(s n) = exp(256 s i) exp(s j): the sum over the modes is
    one matrix product instead of an exponential for each mode and sample.
    """
    rates = (-np.log(1000) / decay_seconds + 2j * np.pi * frequencies_hz) / sample_rate
    audible = frequencies_hz < 0.45 * sample_rate
    starts = amplitudes * np.exp(1j * phases) * audible
    num_blocks = -(-num_samples // 256)
    blocks = (starts[:, None] * np.exp(rates[:, None] * 256 * np.arange(num_blocks))).T
    within = np.exp(rates[:, None] * np.arange(256))
    # the real part alone: two real products, half of the complex one
    left = np.concatenate([blocks.real, -blocks.imag], axis=1).astype(np.float32)
    right = np.concatenate([within.real, within.imag], axis=0).astype(np.float32)
    return (left @ right).reshape(-1)[:num_samples]

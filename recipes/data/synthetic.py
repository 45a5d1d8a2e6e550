"""Five kinds of synthetic sounds, for training without recordings (smoke.toml) and the demo scene.

Waveforms are (t,) float32. All variation comes from a generator.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Kind = Callable[[np.random.Generator, int, int], np.ndarray]

MAJOR_SEMITONES = (0, 2, 4, 5, 7, 9, 11)
FLUTE_HARMONICS_DB = (0, -8, -14, -24, -32, -40)


def band_noise(
    generator: np.random.Generator,
    num_samples: int,
    sample_rate: int,
    low_hz: float,
    high_hz: float,
) -> np.ndarray:
    """Gaussian noise of unit variance that falls by 12 dB per octave outside low_hz to high_hz."""
    hz = np.fft.rfftfreq(num_samples, 1 / sample_rate)
    gain = 1 / np.sqrt((1 + (low_hz / np.maximum(hz, 1e-3)) ** 4) * (1 + (hz / high_hz) ** 4))
    noise = np.fft.irfft(np.fft.rfft(generator.standard_normal(num_samples)) * gain, num_samples)
    return noise / max(float(noise.std()), 1e-9)


def ring(
    num_samples: int, sample_rate: int, modes_hz: np.ndarray, decay_seconds: np.ndarray
) -> np.ndarray:
    """A sum of sines below the Nyquist frequency that decay by 60 dB in their decay_seconds."""
    times = np.arange(num_samples)[:, None] / sample_rate
    modes = np.sin(2 * np.pi * modes_hz * times) * np.exp(-np.log(1000) * times / decay_seconds)
    return (modes * (modes_hz < sample_rate / 2)).sum(axis=1)


def repeated(
    generator: np.random.Generator, hits: list[np.ndarray], num_samples: int, period: float
) -> np.ndarray:
    """The hits alternately at random levels, one every `period` samples, from a random start."""
    total = np.zeros(num_samples)
    onsets = np.arange(generator.uniform(0, min(period, 0.8 * num_samples)), num_samples, period)
    for count, onset in enumerate(onsets.astype(int)):
        hit = hits[count % len(hits)][: num_samples - onset]
        total[onset : onset + len(hit)] += generator.uniform(0.6, 1) * hit
    return total


def clock_tick(generator: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """Alternating ticks and tocks, 0.2 to 1 s apart: short decaying resonances of a case."""
    modes_hz = np.exp(generator.uniform(np.log(1000), np.log(9000), 16))
    decays = generator.uniform(0.01, 0.06, 16)
    size = round(0.1 * sample_rate)
    hits = [ring(size, sample_rate, modes_hz * detune, decays) for detune in (1, 0.94)]
    return repeated(generator, hits, num_samples, generator.uniform(0.2, 1) * sample_rate)


def bass_drum(generator: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """Drum strokes 0.2 to 0.8 s apart, each a sine whose pitch falls to 40 to 70 Hz."""
    times = np.arange(round(0.6 * sample_rate)) / sample_rate
    pitch_hz = generator.uniform(40, 70) * (1 + generator.uniform(0.5, 2) * np.exp(-times / 0.03))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / sample_rate
    hit = (
        np.sin(phase) * np.exp(-times / generator.uniform(0.08, 0.2)) * np.minimum(times / 0.002, 1)
    )
    return repeated(generator, [hit], num_samples, generator.uniform(0.2, 0.8) * sample_rate)


def snare_drum(generator: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """Two modes of a membrane and the noise of the wires under it, 0.3 to 1 s apart."""
    size = round(0.4 * sample_rate)
    low_hz = generator.uniform(170, 230)
    skin = ring(size, sample_rate, np.array([low_hz, 1.59 * low_hz]), np.array([0.2, 0.15]))
    decay = np.exp(-np.log(1000) * np.arange(size) / (generator.uniform(0.2, 0.4) * sample_rate))
    wires = band_noise(generator, size, sample_rate, 1500, 9000) * decay
    hit = 0.5 * skin + generator.uniform(0.5, 1) * wires
    return repeated(generator, [hit], num_samples, generator.uniform(0.3, 1) * sample_rate)


def rain(generator: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """Band noise, and single drops: bubbles that ring for some milliseconds (Franz 1959)."""
    low_hz, high_hz = generator.uniform(150, 600), generator.uniform(2000, 9000)
    drops = np.zeros(num_samples)
    size = round(0.03 * sample_rate)
    for start in generator.integers(0, num_samples, round(40 * num_samples / sample_rate)):
        mode_hz = np.exp(generator.uniform(np.log(700), np.log(6000), 1))
        drop = ring(size, sample_rate, mode_hz, np.array([0.02]))[: num_samples - start]
        drops[start : start + len(drop)] += generator.exponential(0.7) * drop
    return band_noise(generator, num_samples, sample_rate, low_hz, high_hz) + drops


def flute(generator: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """A random walk over a C major scale from C4 to E6: few harmonics, vibrato, and breath noise."""
    midi = np.array([key for key in range(60, 89) if key % 12 in MAJOR_SEMITONES])
    note, start = int(generator.integers(len(midi))), 0
    pitch_hz, level = np.zeros(num_samples), np.zeros(num_samples)
    while start < num_samples:
        size = min(round(generator.uniform(0.25, 1.2) * sample_rate), num_samples - start)
        times = np.arange(size) / sample_rate
        remaining = size / sample_rate - times
        pitch_hz[start : start + size] = 440 * 2 ** ((midi[note] - 69) / 12)
        sounding = np.clip(np.minimum(times / 0.06, (remaining - 0.04) / 0.08), 0, 1)
        level[start : start + size] = generator.uniform(0.5, 1) * sounding
        note = int(np.clip(note + generator.integers(-3, 4), 0, len(midi) - 1))
        start += size
    vibrato = np.sin(2 * np.pi * generator.uniform(4.5, 6) * np.arange(num_samples) / sample_rate)
    cycles = np.cumsum(pitch_hz * (1 + generator.uniform(0, 0.01) * vibrato)) / sample_rate
    tone = np.zeros(num_samples)
    for number, db in enumerate(FLUTE_HARMONICS_DB, start=1):
        audible = number * pitch_hz < 0.45 * sample_rate
        tone += 10 ** (db / 20) * audible * np.sin(2 * np.pi * number * cycles)
    breath = 10 ** (generator.uniform(-48, -34) / 20)
    return level * (tone + breath * band_noise(generator, num_samples, sample_rate, 400, 4000))


KINDS: dict[str, Kind] = {
    "bass_drum": bass_drum,
    "clock_tick": clock_tick,
    "flute": flute,
    "rain": rain,
    "snare_drum": snare_drum,
}


def synthesize(
    label: str, generator: np.random.Generator, num_samples: int, sample_rate: int
) -> np.ndarray:
    """A new sound of a kind in KINDS: (num_samples,) float32 with peak 0.9, never all zero.

    Noise 60 dB below the peak imitates room and microphone. Raises ValueError for another label and for
    num_samples < 1.
    """
    if label not in KINDS:
        raise ValueError(f"no synthesis of {label!r}; known: {', '.join(KINDS)}")
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}")
    sound = KINDS[label](generator, num_samples, sample_rate)
    sound = sound / max(float(np.abs(sound).max()), 1e-9)
    sound += 1e-3 * generator.standard_normal(num_samples)
    return (0.9 * sound / np.abs(sound).max()).astype(np.float32)

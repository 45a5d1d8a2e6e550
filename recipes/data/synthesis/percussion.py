"""Clock, bass drum, snare drum and hi-hat: a struck sound, repeated in time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .oscillators import cycles, ring
from .rhythm import add_at, beats
from .shaping import coloured_noise, curve_gain, normalize_peak, rippled

Hit = Callable[[], np.ndarray]


def clock_tick(generator: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """A clock whose ticks are 0.2 to 1 s apart: a wrist watch to a wall clock."""
    period_seconds = float(generator.choice([0.2, 0.25, 0.333, 0.5, 0.5, 1.0, 1.0]))
    return ticking(
        generator, num_samples, sample_rate, period_seconds * generator.uniform(0.97, 1.03)
    )


def ticking(
    generator: np.random.Generator, num_samples: int, sample_rate: int, period_seconds: float
) -> np.ndarray:
    """Ticks period_seconds apart, tick and tock in turn, of unlike pitch and strength.

    An escapement gives two to four clicks within 20 ms: unlocking, impulse, drop.
    """
    clicks_seconds = np.cumsum(generator.uniform(0.002, 0.012, generator.integers(1, 4)))
    body_db = generator.uniform(-14, 0)
    modes = np.exp(generator.uniform(np.log(800), np.log(11000), 24))
    decays = generator.uniform(0.2, 1.0) * np.exp(generator.normal(0, 0.4, 24)) * 30 / modes**0.7
    size = int(0.25 * sample_rate)
    sounds = []
    for detune in (1.0, generator.uniform(0.9, 1.1)):
        sound = np.zeros(size, np.float32)
        for place, seconds in enumerate(clicks_seconds):
            sizes = np.exp(generator.normal(0, 0.7, 24))
            phases = generator.uniform(0, 2 * np.pi, 24)
            click = ring(size, sample_rate, modes * detune, decays, sizes, phases)
            burst = coloured_noise(generator, size, sample_rate, ((500, -12), (3000, 0)))
            burst *= np.exp(-np.arange(size) / (0.0015 * sample_rate))
            strength = 1.0 if place == 0 else 10 ** (generator.uniform(-14, 2) / 20)
            click = click / np.abs(click).max() + 0.4 * burst / np.abs(burst).max()
            add_at(sound, int(seconds * sample_rate), strength * click)
        thud_hz = generator.uniform(80, 400, 2)
        phases = np.full(2, -np.pi / 2)
        thud = ring(size, sample_rate, thud_hz, np.full(2, 0.12), np.ones(2), phases)
        sounds.append(sound / np.abs(sound).max() + thud * 10 ** (body_db / 20) * 0.15)
    tock_gain = 10 ** (generator.uniform(-8, 0) / 20)
    ticks = np.zeros(num_samples, np.float32)
    for count, onset in enumerate(
        beats(generator, num_samples / sample_rate, period_seconds, 0.0008)
    ):
        gain = (1.0, tock_gain)[count % 2] * generator.uniform(0.9, 1.0)
        add_at(ticks, int(onset * sample_rate), gain * sounds[count % 2])
    return normalize_peak(ticks)


def strike(
    generator: np.random.Generator,
    num_samples: int,
    sample_rate: int,
    hit: Hit,
    seconds_range: tuple[float, float],
) -> np.ndarray:
    """One blow, or (three times in four) a pattern of blows on a grid of beats.

    seconds_range: of the grid's period. A blow falls on most places, its strength varies by 12 dB.
    """
    pattern = np.zeros(num_samples, np.float32)
    duration = num_samples / sample_rate
    onsets = beats(generator, duration, generator.uniform(*seconds_range), 0.004)
    if generator.random() < 0.25:
        onsets = onsets[:1]
    takes = [hit(), hit()]
    density = generator.uniform(0.5, 1.0)
    for count, onset in enumerate(onsets):
        if count == 0 or generator.random() < density:
            gain = 10 ** (generator.uniform(-12, 0) / 20)
            add_at(pattern, int(onset * sample_rate), gain * takes[generator.integers(2)])
    return normalize_peak(pattern)


def bass_drum(generator: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """A membrane falling to 38 to 75 Hz as its tension relaxes, overtones of a drum, a beater."""
    size = int(generator.uniform(0.4, 1.2) * sample_rate)
    low_hz, drop = generator.uniform(36, 75), generator.uniform(0.2, 2.0)
    fall_seconds, decay_seconds = generator.uniform(0.01, 0.05), generator.uniform(0.08, 0.3)
    click_db, skin_db = generator.uniform(-36, -14), generator.uniform(-26, -12)
    times = np.arange(size, dtype=np.float32) / sample_rate

    def hit() -> np.ndarray:
        phase = cycles(low_hz * (1 + drop * np.exp(-times / fall_seconds)), sample_rate)
        boom = np.sin(2 * np.pi * phase) * np.exp(-times / decay_seconds)
        boom *= np.minimum(times / 0.002, 1)
        # (0,1) (1,1) (2,1) (0,2) (3,1) (1,2) of a circular membrane: zeros of Bessel functions
        ratios = np.array([1.593, 2.135, 2.295, 2.653, 2.917, 4.06])
        skin_hz = low_hz * ratios * generator.uniform(0.97, 1.03, 6)
        amplitudes = generator.uniform(0.2, 1, 6)
        skin = ring(
            size, sample_rate, skin_hz, np.full(6, decay_seconds * 2), amplitudes, np.zeros(6)
        )
        beater = coloured_noise(
            generator, size, sample_rate, ((300, 0), (1500, -8), (6000, -32), (12000, -60))
        )
        beater *= np.exp(-times / 0.008)
        sound = boom + skin * 10 ** (skin_db / 20) + beater * 10 ** (click_db / 20)
        return (sound * np.minimum((times[-1] - times) / 0.05, 1)).astype(np.float32)

    return strike(generator, num_samples, sample_rate, hit, (0.25, 0.9))


def snare_drum(generator: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """Two heads ringing near 180 and 330 Hz and wires rattling: noise that decays more slowly."""
    size = int(0.6 * sample_rate)
    times = np.arange(size, dtype=np.float32) / sample_rate
    head_hz = generator.uniform(140, 260)
    head_seconds, wire_seconds = generator.uniform(0.1, 0.45), generator.uniform(0.04, 0.2)
    wire_db = generator.uniform(-8, 4)
    curve = ((150, -12), (400, -6), (1000, 0), (4000, 0), (9000, -5), (16000, -14))
    colour = rippled(generator, curve, 3)
    # (0,1) of both heads coupled, then (1,1) (2,1) (0,2) … : Rossing, Science of Percussion, ch. 4
    ratios = np.array([1.0, 1.8, 1.95, 2.4, 2.9, 3.3, 4.2, 5.0])
    slopes_db = -np.array([0, 5, 9, 11, 14, 16, 20, 22]) * generator.uniform(0.6, 1.3)

    def hit() -> np.ndarray:
        detune = generator.uniform(0.99, 1.01, len(ratios))
        amplitudes = 10 ** ((slopes_db + generator.normal(0, 2, len(ratios))) / 20)
        decays = head_seconds / np.sqrt(ratios)
        phases = generator.uniform(0, 2 * np.pi, len(ratios))
        heads = ring(size, sample_rate, head_hz * ratios * detune, decays, amplitudes, phases)
        wires = coloured_noise(generator, size, sample_rate, colour)
        wires *= np.exp(-times / wire_seconds) + 0.5 * np.exp(-times / 0.012)
        sound = heads + 0.25 * wires * 10 ** (wire_db / 20)
        return (sound * np.minimum(times / 0.001, 1)).astype(np.float32)

    return strike(generator, num_samples, sample_rate, hit, (0.12, 0.8))


def hi_hat(generator: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """Two cymbals: dense inharmonic modes from 300 Hz up and noise; closed 0.1 s, open 2 s."""
    open_seconds = np.exp(generator.uniform(np.log(0.15), np.log(3.0)))
    size = int(min(num_samples, 1.2 * open_seconds * sample_rate)) + 1
    times = np.arange(size, dtype=np.float32) / sample_rate
    modes = np.exp(generator.uniform(np.log(300), np.log(15000), 90))
    peak_hz = generator.uniform(3000, 8500)
    colour = rippled(
        generator,
        ((300, -32), (1000, -19), (0.5 * peak_hz, -8), (peak_hz, 0), (16000, -6)),
        3,
    )
    decays = open_seconds * generator.uniform(0.4, 1.1, 90) * (modes / 4000) ** -0.3
    amplitudes = curve_gain(modes, colour)
    tonal = generator.uniform(0.2, 0.8)

    def hit() -> np.ndarray:
        sizes = amplitudes * np.exp(generator.normal(0, 0.5, 90))
        phases = generator.uniform(0, 2 * np.pi, 90)
        plates = ring(size, sample_rate, modes, decays, sizes, phases)
        sizzle = coloured_noise(generator, size, sample_rate, colour)
        sizzle *= np.exp(-times * (6.9 / open_seconds)) + 0.8 * np.exp(-times / 0.01)
        sound = tonal * plates / np.abs(plates).max() + (1 - tonal) * sizzle / np.abs(sizzle).max()
        return (sound * np.minimum((times[-1] - times) / 0.02, 1)).astype(np.float32)

    return strike(generator, num_samples, sample_rate, hit, (0.2, 1.0))

"""Helicopter and chainsaw: noise and buzz in step with something that turns."""

from __future__ import annotations

import numpy as np

from .oscillators import cycles, play, wavetable
from .shaping import coloured_noise, normalize_peak, rippled, shape_spectrum, wander


def helicopter(generator: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """Thumps and pulsing noise at the blades' rate, 9 to 28 a second, over the engine's roar.

    Two to five blades at 250 to 400 turns a minute; near or far sets how much treble is left.
    """
    blade_hz = generator.uniform(9, 28) * (
        1 + 0.006 * wander(generator, num_samples, sample_rate, 0.7)
    )
    phase = cycles(blade_hz, sample_rate)
    far = generator.uniform(0, 1)
    curve = (
        (25, generator.uniform(-20, -8)),
        (90, 0),
        (300, -2 - 2 * far),
        (800, -4 - 6 * far),
        (2000, -13 - 10 * far),
        (5000, -24 - 14 * far),
        (12000, -50 - 16 * far),
    )
    air = coloured_noise(generator, num_samples, sample_rate, rippled(generator, curve, 2.5))
    sharpness = generator.uniform(1, 6)  # of the slap: the higher, the shorter its part of a turn
    pulse = np.exp(sharpness * (np.cos(2 * np.pi * phase, dtype=np.float32) - 1))
    depth = generator.uniform(0.5, 0.97)
    swept = air * (1 - depth + depth * pulse)
    harmonics = np.arange(1, 25)
    heard = np.minimum(harmonics * 18 / 80, 1) ** 2  # microphones lose what is below some 80 Hz
    partials = heard * np.exp(-harmonics / generator.uniform(2, 7))
    thump = play(wavetable(generator, partials), 0, phase)
    thump *= 10 ** (generator.uniform(-16, 0) / 20)
    whine_hz = generator.uniform(500, 5000)
    times = np.arange(num_samples, dtype=np.float32) / sample_rate
    whine = np.sin(2 * np.pi * whine_hz * times) * 10 ** (generator.uniform(-60, -28) / 20)
    flight = np.exp(0.25 * wander(generator, num_samples, sample_rate, 0.8))
    return normalize_peak((swept * 1.2 + thump * 0.5 + whine) * flight)


def chainsaw(generator: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """A two-stroke engine, 45 explosions a second idling to 200 at full throttle, and its chain.

    Each explosion's strength is random, so the buzz carries noise in step with itself.
    """
    throttle = 0.5 + 0.5 * np.tanh(wander(generator, num_samples, sample_rate, 1.5))
    low_hz = generator.uniform(45, 110)
    reach = generator.choice([0.06, 0.25, 1.0])  # steady, cutting, or revved up and down
    firing_hz = low_hz * (1 + reach * throttle)
    firing_hz *= 1 + 0.012 * wander(generator, num_samples, sample_rate, 15)
    phase = cycles(firing_hz, sample_rate)
    harmonics = np.arange(1, 70)
    tilt = harmonics ** -generator.uniform(0.2, 0.8) * 10 ** (generator.normal(0, 5, 69) / 20)
    buzz = play(wavetable(generator, tilt), 0, phase)
    strength = np.exp(generator.normal(0, 0.3, int(phase[-1]) + 2)).astype(np.float32)
    stroke = phase.astype(np.int64)
    decay = np.exp(-generator.uniform(1.5, 5) * (phase - stroke)).astype(np.float32)
    flat = ((100, 0), (3000, 0), (16000, -6))
    gas = coloured_noise(generator, num_samples, sample_rate, flat) * decay
    tonal = generator.uniform(0.25, 0.75)
    engine = (tonal * buzz + (1 - tonal) * 2.2 * gas) * strength[stroke]
    colour = (
        (40, -14),
        (120, generator.uniform(-9, 0)),
        (400, 0),
        (1200, generator.uniform(-9, 0)),
        (3500, generator.uniform(-15, -4)),
        (7000, generator.uniform(-23, -9)),
        (14000, -34),
    )
    chain = coloured_noise(generator, num_samples, sample_rate, ((500, -12), (3000, 0), (9000, -8)))
    load = 0.6 + 0.4 * throttle
    saw = shape_spectrum(engine * load, sample_rate, rippled(generator, colour, 3))
    return normalize_peak(saw + chain * saw.std() * 10 ** (generator.uniform(-30, -12) / 20))

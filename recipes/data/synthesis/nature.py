"""Rain, sea waves and fire: noise and very many small events."""

from __future__ import annotations

import numpy as np

from .oscillators import ring
from .rhythm import scattered
from .shaping import coloured_noise, convolve, normalize_peak, rippled, wander


def rain(generator: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """Drops on a surface (Poisson, log-normal sizes) in the hiss of the many that blend.

    A drop is a click and a bubble ringing at 1 to 8 kHz for some milliseconds (Franz, 1959).
    """
    top_db = generator.uniform(-14, 1)
    rumble_db = generator.uniform(-12, 12)
    colour = (
        (40, rumble_db),
        (150, 0.6 * rumble_db - 4),
        (400, -4),
        (1500, -2),
        (3500, 0),
        (8000, top_db - 4),
        (12000, top_db - 10),
        (16000, top_db - 28),
    )
    hiss = coloured_noise(generator, num_samples, sample_rate, rippled(generator, colour, 2.0))
    hiss *= 1 + 0.08 * wander(generator, num_samples, sample_rate, 6)
    per_second = 10 ** generator.uniform(1.0, 3.0)
    num_drops = generator.poisson(per_second * num_samples / sample_rate / 3, 3)
    size = int(0.03 * sample_rate)
    kinds = np.stack([_drop(generator, size, sample_rate) for _ in range(3)])
    falls = np.stack([scattered(generator, num_samples, count, 7.0) for count in num_drops])
    drops = convolve(falls, kinds)
    level = 10 ** (generator.uniform(-18, 3) / 20) / max(float(drops.std()), 1e-9)
    return normalize_peak(hiss + level * drops)


def _drop(generator: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    modes = np.exp(generator.uniform(np.log(700), np.log(9000), 4))
    decays = generator.uniform(0.002, 0.02, 4)
    bubble = ring(num_samples, sample_rate, modes, decays, modes**-0.3, np.full(4, np.pi / 2))
    # At low sample rates every mode may lie above half the rate: then the drop is silent.
    return bubble / max(float(np.abs(bubble).max()), 1e-9)


def sea_waves(generator: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """A low roar, and breakers that come and go over seconds; the larger, the brighter."""
    roar_curve = ((40, -4), (200, 0), (700, -2), (2000, -12), (6000, -24), (16000, -40))
    wash_curve = ((100, -16), (500, -4), (1500, 0), (5000, -5), (10000, -11), (16000, -18))
    tilt_db = generator.normal(-6, 5)
    tilted = [(hz, db + tilt_db * np.log2(hz / 1000) / 3) for hz, db in wash_curve]
    roar = coloured_noise(generator, num_samples, sample_rate, rippled(generator, roar_curve, 2))
    wash = coloured_noise(generator, num_samples, sample_rate, rippled(generator, tilted, 2))
    times = np.arange(num_samples, dtype=np.float32) / sample_rate
    height = np.zeros(num_samples, np.float32)
    crest = generator.uniform(-3, 3)
    while crest < times[-1] + 2:
        rise, fall = generator.uniform(0.3, 1.5), generator.uniform(0.8, 4)
        distance = np.where(times < crest, (crest - times) / rise, (times - crest) / fall)
        height += generator.uniform(0.3, 1) * np.exp(-1.5 * distance)
        crest += generator.uniform(2, 7)
    foam = 1 + 0.12 * wander(generator, num_samples, sample_rate, 40)
    roar_level = generator.uniform(0.15, 0.7)
    waves = roar * (roar_level + height) + wash * foam * (0.04 + 0.8 * height**1.5)
    return normalize_peak(waves)


def fire_crackling(
    generator: np.random.Generator, num_samples: int, sample_rate: int
) -> np.ndarray:
    """Snaps of a few milliseconds in clusters, sizes over 40 dB, on the flames' low rumble."""
    seconds = num_samples / sample_rate
    size = int(0.06 * sample_rate)
    times = np.arange(size) / sample_rate
    snaps = []
    for decay_seconds in generator.uniform(0.001, 0.012, 3):
        low_hz = np.exp(generator.uniform(np.log(500), np.log(4000)))
        curve = ((0.3 * low_hz, -18), (low_hz, 0), (3 * low_hz, -3), (16000, -18))
        burst = coloured_noise(generator, size, sample_rate, curve)
        tail = np.exp(-times / decay_seconds) + 0.04 * np.exp(-times / 0.02)
        snaps.append(burst * tail)
        snaps[-1][0] += 2  # the crack itself, with all frequencies
    per_second = np.exp(generator.uniform(np.log(8), np.log(90)))
    counts = 1 + generator.poisson(per_second * seconds / 3, 3)
    activity = np.exp(0.8 * wander(generator, num_samples, sample_rate, 4))
    cracks = np.stack([scattered(generator, num_samples, count, 12.0) for count in counts])
    crackle = convolve(cracks * activity, np.stack(snaps).astype(np.float32))
    low = ((30, 0), (120, -6), (300, -22), (1000, -34), (4000, -40), (16000, -48))
    rumble = coloured_noise(generator, num_samples, sample_rate, rippled(generator, low, 3))
    rumble *= np.exp(0.4 * wander(generator, num_samples, sample_rate, 8))
    hiss_curve = ((200, -10), (1000, 0), (16000, -10))
    hiss = coloured_noise(generator, num_samples, sample_rate, hiss_curve)
    peak = np.abs(crackle).max()
    rumble_level, hiss_level = 10 ** (generator.uniform([-48, -56], [-23, -34]) / 20)
    return normalize_peak(crackle / peak + rumble_level * rumble + hiss_level * hiss)

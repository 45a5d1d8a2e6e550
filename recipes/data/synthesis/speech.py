"""Babble: syllables of no language, by formants (after Klatt, 1980)."""

from __future__ import annotations

import numpy as np

from .oscillators import cycles, glottal_table, play
from .shaping import coloured_noise, filter_over_time, frame_grid, normalize_peak, wander

# F1, F2, F3 in Hz of a man's vowels: Peterson and Barney, 1952, table II.
VOWELS_HZ = np.array(
    [
        (270, 2290, 3010), (390, 1990, 2550), (530, 1840, 2480), (660, 1720, 2410),
        (730, 1090, 2440), (570, 840, 2410), (440, 1020, 2240), (300, 870, 2240),
        (640, 1190, 2390), (490, 1350, 1690),
    ]
)  # fmt: skip
# centre and width in Hz of the noise of s, sh, f, h; then its level re a vowel, in dB
FRICATIVES = ((6500, 3500, 9), (3200, 2000, 7), (6500, 7000, -3), (1400, 1800, -9))
STEP_SECONDS = 0.005  # of the tracks: formants and levels are drawn on this grid, then interpolated


def speech(generator: np.random.Generator, num_samples: int, sample_rate: int) -> np.ndarray:
    """One voice, man, woman or child, speaking phrases with pauses between."""
    size = generator.uniform(0.0, 1.0)  # 0: a deep voice, 1: a child's
    throat = 1 + 0.25 * size
    frames, hz = frame_grid(num_samples, sample_rate)
    track = _tracks(generator, num_samples / sample_rate + 2 * STEP_SECONDS)
    track_seconds = np.arange(len(track)) * STEP_SECONDS
    at_frames = np.stack([np.interp(frames, track_seconds, column) for column in track.T], axis=1)
    voiced = _vowel_gain(hz, at_frames[:, :3] * throat)
    centre, width = at_frames[:, 3:4], at_frames[:, 4:5]
    hissed = 1 / (1 + ((hz - centre) / (width / 2)) ** 2)
    times = np.arange(num_samples) / sample_rate
    voice_level, hiss_level, melody = (
        np.interp(times, track_seconds, track[:, column]) for column in (5, 6, 7)
    )
    base_hz = 95 * 2 ** (1.4 * size)
    error = 1 + 0.008 * wander(generator, num_samples, sample_rate, 60)
    pitch_hz = base_hz * 2 ** (melody / 12) * error
    num_harmonics = max(1, int(0.45 * sample_rate / pitch_hz.max()))
    table = glottal_table(num_harmonics, generator.uniform(-13, -10))
    pulses = play(table, 0, cycles(pitch_hz, sample_rate))
    noise = coloured_noise(generator, num_samples, sample_rate, ((50, 0), (16000, 0)))
    aspirated = pulses + 0.05 * noise
    sources = np.stack([aspirated * voice_level, noise * hiss_level]).astype(np.float32)
    babble = filter_over_time(sources, np.stack([voiced, hissed]), sample_rate)
    return normalize_peak(babble)


def _vowel_gain(hz: np.ndarray, formants_hz: np.ndarray) -> np.ndarray:
    """Resonances one after another, with lip radiation: (n, f) for formants (n, 3)."""
    gain = np.minimum(hz / 300, 6.0)[None, :] * np.ones((len(formants_hz), 1))
    extra = np.full((len(formants_hz), 1), 3700.0)
    for centre in np.split(np.concatenate([formants_hz, extra], axis=1), 4, axis=1):
        width = 50 + centre / 25
        squared = (centre**2 - hz**2) ** 2 + (width * hz) ** 2
        gain = gain * centre**2 / np.sqrt(squared)
    # the poles above the fourth, which keep a throat's response from falling (Fant's correction)
    return gain * (1 + (hz / 3500) ** 2) ** 4


def _tracks(generator: np.random.Generator, seconds: float) -> np.ndarray:
    """F1, F2, F3, hiss centre and width in Hz, levels of voice and hiss, semitones: (steps, 8).

    A syllable is a consonant (a fricative, a stop, a nasal or none) and one or two vowels.
    """
    num_steps = int(np.ceil(seconds / STEP_SECONDS)) + 1
    tracks = np.zeros((num_steps, 8))
    tracks[:, :5] = (500, 1500, 2500, 5000, 3000)
    step = int(generator.uniform(0, 0.3) / STEP_SECONDS)
    rate = generator.uniform(0.8, 1.25)
    while step < num_steps:
        num_syllables = int(generator.integers(4, 13))
        for place in range(num_syllables):
            melody = 4 - 7 * place / num_syllables + generator.normal(0, 1.5)
            step = _syllable(generator, tracks, step, melody, rate)
        step += int(generator.uniform(0.15, 0.7) / STEP_SECONDS)
    smooth = np.hanning(9) / np.hanning(9).sum()  # 40 ms: the tongue's speed
    padded = np.pad(tracks, ((4, 4), (0, 0)), mode="edge")
    columns = [np.convolve(column, smooth, mode="valid") for column in padded.T]
    return np.stack(columns, axis=1)


def _syllable(
    generator: np.random.Generator, tracks: np.ndarray, step: int, melody: float, rate: float
) -> int:
    """Writes one syllable into the tracks from this step; returns the step after it."""

    def span(seconds: float) -> slice:
        nonlocal step
        begin, step = step, step + max(1, round(seconds * rate / STEP_SECONDS))
        return slice(begin, step)

    first, second = VOWELS_HZ[generator.integers(0, len(VOWELS_HZ), 2)]
    consonant = generator.choice(["fricative", "stop", "nasal", "none"], p=[0.3, 0.35, 0.25, 0.1])
    if consonant == "fricative":
        centre, width, db = FRICATIVES[generator.integers(len(FRICATIVES))]
        part = span(generator.uniform(0.06, 0.13))
        tracks[part, 3:7] = (centre, width, 0, 10 ** (db / 20))
    elif consonant == "stop":
        span(generator.uniform(0.03, 0.07))
        part = span(generator.uniform(0.01, 0.03))
        centre = generator.choice([1200, 2200, 4500])
        tracks[part, 3:7] = (centre, 2500, 0, generator.uniform(0.3, 1.0))
    elif consonant == "nasal":
        part = span(generator.uniform(0.05, 0.09))
        tracks[part, :3] = (260, 1300, 2300)
        tracks[part, 5] = 0.25
    part = span(generator.uniform(0.07, 0.22))
    glide = np.linspace(0, generator.choice([0.0, 0.8]), step - part.start)[:, None]
    kept = tracks[part].shape[0]
    tracks[part, :3] = ((1 - glide) * first + glide * second)[:kept]
    tracks[part, 5] = generator.uniform(0.5, 1.0)
    tracks[part.start - 2 : part.stop, 7] = melody
    return step

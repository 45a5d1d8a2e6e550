"""Beat-synchronous mixing: musical sources brought to the tempo and the beat of the first of them.

Tempo and beat are those of the pulse train that agrees best with the onset strength (after Ellis, "Beat
tracking by dynamic programming", J. New Music Research 36, 2007, with one tempo for the whole segment).
Jeon et al., "Why does music source separation benefit from cacophony?" (2024), compare mixing in tempo with
random mixing.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import soxr

from .config import BeatConfig

HOP_SECONDS, WINDOW_SECONDS = 0.01, 0.04
FLOOR_DB = 60.0  # onsets are changes of levels within so much of the loudest
MIN_PERIOD, MAX_PERIOD = 0.3, 1.0  # 200 to 60 beats a minute
PREFERRED_PERIOD, PREFERRED_OCTAVES = (
    0.5,
    1.0,
)  # Ellis: 120 a minute, a standard deviation of an octave
NUM_PERIODS = 240
TOLERANCE, NUM_REFINED = 0.02, 41


class Beat(NamedTuple):
    """period, first: seconds between beats, and of the first one. strength: the share of the onset strength's
    variation that repeats after a period, at most 1."""

    period: float
    first: float
    strength: float


def onset_strength(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
    """The rise of level summed over frequencies, every HOP_SECONDS, mean 0: (n,)."""
    hop, window = (round(seconds * sample_rate) for seconds in (HOP_SECONDS, WINDOW_SECONDS))
    padded = np.pad(waveform, (window - hop // 2, window))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    magnitude = np.abs(np.fft.rfft(frames * np.hanning(window).astype(np.float32), axis=1))
    loudest = max(float(magnitude.max()), 1e-12)
    level_db = 20 * np.log10(np.maximum(magnitude / loudest, 10 ** (-FLOOR_DB / 20)))
    rises = np.maximum(np.diff(level_db, axis=0), 0).mean(axis=1)
    return rises - rises.mean()


def beat_of(waveform: np.ndarray, sample_rate: int) -> Beat | None:
    """The beat of (t,), or None if it is shorter than two of the slowest beats or without onsets."""
    onsets = onset_strength(waveform, sample_rate)
    longest = int(MAX_PERIOD / HOP_SECONDS)
    if len(onsets) < 2 * longest or not onsets.any():
        return None
    size = 1 << (2 * len(onsets) - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(onsets, size)) ** 2
    repeated = np.fft.irfft(spectrum, size)[: 2 * longest + 2]
    repeated /= repeated[0] * (1 - np.arange(len(repeated)) / len(onsets))  # unbiased
    periods = np.geomspace(MIN_PERIOD, MAX_PERIOD, NUM_PERIODS)
    lags = periods / HOP_SECONDS
    once, twice = (
        np.interp(number * lags, np.arange(len(repeated)), repeated) for number in (1, 2)
    )
    octaves = np.log2(periods / PREFERRED_PERIOD) / PREFERRED_OCTAVES
    best = int(np.argmax((once + twice) * np.exp(-0.5 * octaves**2)))
    period, first = pulse_train(onsets, float(periods[best]))
    return Beat(period, first, float((once[best] + twice[best]) / 2))


def pulse_train(onsets: np.ndarray, period: float) -> tuple[float, float]:
    """The period within TOLERANCE of the given one, and the first beat, of the pulses on the most onsets."""
    periods = period * np.linspace(1 - TOLERANCE, 1 + TOLERANCE, NUM_REFINED)
    starts = np.arange(0, period, HOP_SECONDS / 2)
    num_beats = int((len(onsets) - 1) * HOP_SECONDS / period / (1 + TOLERANCE))
    beats = starts[:, None, None] + periods[:, None] * np.arange(num_beats)
    scores = np.interp(beats / HOP_SECONDS, np.arange(len(onsets)), onsets).mean(axis=2)
    start, refined = np.unravel_index(int(scores.argmax()), scores.shape)
    return float(periods[refined]), float(starts[start])


def synchronous(sources: np.ndarray, config: BeatConfig, sample_rate: int) -> np.ndarray:
    """The sources (s, t) with those that have a beat moved onto that of the first that has: (s, t) float32.

    A source's speed changes by max_stretch at most, also to half or double the tempo; else it stays as it is.
    It begins up to a beat later, with silence.
    """
    aligned, leader = sources.copy(), None
    for index, source in enumerate(sources):
        beat = beat_of(source, sample_rate)
        if beat is None or beat.strength < config.min_strength:
            continue
        if leader is None:
            leader = beat
            continue
        ratio = beat.period / leader.period
        ratio /= 2.0 ** round(math.log2(ratio))
        if abs(ratio - 1) <= config.max_stretch:
            aligned[index] = moved_to(source, beat, leader, ratio, sample_rate)
    return aligned


def moved_to(
    source: np.ndarray, beat: Beat, leader: Beat, ratio: float, sample_rate: int
) -> np.ndarray:
    """The source (t,) played `ratio` times as fast, and later, so that its beats are the leader's: (t,)."""
    faster = soxr.resample(source, ratio, 1.0, quality="HQ")
    period = min(leader.period, beat.period / ratio)
    delay = round((leader.first - beat.first / ratio) % period * sample_rate)
    moved = np.zeros_like(source)
    num_samples = min(len(source) - delay, len(faster))
    moved[delay : delay + num_samples] = faster[:num_samples]
    return moved

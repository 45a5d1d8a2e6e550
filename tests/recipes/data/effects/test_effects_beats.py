"""Beats of click tracks, whose tempo and onsets are known."""

import numpy as np
import pytest

from qsep.recipes.data.effects.beats import beat_of, synchronous
from qsep.recipes.data.effects.config import BeatConfig

RATE, SECONDS = 16000, 6


def clicks(bpm: float, first: float, seed: int = 0) -> np.ndarray:
    """Short decaying noises, the first at a time in seconds."""
    waveform = np.zeros(SECONDS * RATE, np.float32)
    rng = np.random.default_rng(seed)
    times = np.arange(400)
    for onset in np.arange(first, SECONDS - 0.1, 60 / bpm):
        onset_sample = round(onset * RATE)
        waveform[onset_sample : onset_sample + 400] += rng.standard_normal(400) * np.exp(
            -times / 80
        )
    return waveform + 1e-4 * rng.standard_normal(len(waveform)).astype(np.float32)


def onsets(waveform: np.ndarray) -> np.ndarray:
    """Times in seconds at which the level rises out of silence."""
    level = np.abs(waveform) > 0.1 * np.abs(waveform).max()
    places = np.flatnonzero(level)
    return places[np.diff(places, prepend=-RATE) > 0.1 * RATE] / RATE


@pytest.mark.parametrize("bpm", [72, 90, 100, 120, 126.3, 150])
@pytest.mark.parametrize("first", [0.05, 0.23])
def test_a_click_tracks_tempo_and_first_beat_are_found(bpm: float, first: float) -> None:
    beat = beat_of(clicks(bpm, first), RATE)
    assert beat is not None
    assert beat.period == pytest.approx(60 / bpm, rel=3e-3)
    late = (beat.first - first) % beat.period
    assert min(late, beat.period - late) < 0.02  # two of the onset strength's frames
    assert beat.strength > 0.4


def test_noise_has_no_beat() -> None:
    noise = np.random.default_rng(0).standard_normal(SECONDS * RATE).astype(np.float32)
    beat = beat_of(noise, RATE)
    assert beat is not None
    assert beat.strength < 0.2


@pytest.mark.parametrize("waveform", [np.zeros(SECONDS * RATE), np.ones(RATE)])
def test_silence_and_short_sounds_have_none(waveform: np.ndarray) -> None:
    assert beat_of(waveform.astype(np.float32), RATE) is None


@pytest.mark.parametrize("bpm", [114.0, 120.0, 127.0, 60.5])
def test_click_tracks_are_brought_onto_one_beat(bpm: float) -> None:
    sources = np.stack([clicks(120, 0.1), clicks(bpm, 0.33, 1)])
    aligned = synchronous(sources, BeatConfig(1.0), RATE)
    assert np.array_equal(aligned[0], sources[0])
    beats = onsets(aligned[0])
    moved = onsets(aligned[1])
    assert len(moved) >= 4
    away = [np.abs(beats - onset).min() for onset in moved if beats[0] < onset < beats[-1]]
    assert max(away) < 0.03  # within the time in which two onsets are heard as one


def test_tempos_too_far_apart_are_left_alone() -> None:
    sources = np.stack([clicks(120, 0.1), clicks(150, 0.33, 1)])
    assert np.array_equal(synchronous(sources, BeatConfig(1.0), RATE), sources)


def test_what_has_no_beat_is_left_alone() -> None:
    noise = np.random.default_rng(0).standard_normal(SECONDS * RATE).astype(np.float32)
    sources = np.stack([noise, clicks(120, 0.1), clicks(118, 0.3, 1)])
    aligned = synchronous(sources, BeatConfig(1.0), RATE)
    assert np.array_equal(aligned[:2], sources[:2])
    assert not np.array_equal(aligned[2], sources[2])

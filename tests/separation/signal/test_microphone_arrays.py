"""Plane waves at microphones in a line: delays of tones by hand."""

import math

import numpy as np
import pytest

from qsep.separation.signal.arrays import SOUND_MPS, plane_wave

RATE, NUM_SAMPLES = 32000, 4001


def tone(hz: float, delay_seconds: float = 0.0) -> np.ndarray:
    """A tone under a window that is silent at both ends, (t,)."""
    times = np.arange(NUM_SAMPLES) / RATE - delay_seconds
    window = np.exp(-(((times - 0.06) / 0.012) ** 2))
    return (window * np.sin(2 * np.pi * hz * times)).astype(np.float32)


@pytest.mark.parametrize("hz", [440.0, 5000.0])
@pytest.mark.parametrize("angle", [0.0, 1.0, 2.5, math.pi])
def test_every_microphone_hears_the_tone_later_by_its_way(hz: float, angle: float) -> None:
    heard = plane_wave(tone(hz), angle, 3, 0.11, RATE)
    assert heard.shape == (3, NUM_SAMPLES)
    assert heard.dtype == np.float32
    for number, channel in enumerate(heard):
        seconds = number * 0.11 * math.cos(angle) / SOUND_MPS
        assert channel == pytest.approx(tone(hz, seconds), abs=2e-6)


def test_the_first_microphone_hears_the_sound_itself_and_a_wave_from_the_side_arrives_at_once() -> (
    None
):
    noise = np.random.default_rng(0).standard_normal(777).astype(np.float32)
    heard = plane_wave(noise, math.pi / 2, 2, 0.2, RATE)
    assert np.array_equal(heard[0], noise)
    assert heard[1] == pytest.approx(noise, abs=1e-5)

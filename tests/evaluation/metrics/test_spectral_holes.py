"""Holes: bins in which a sound is audible and its estimate lacks it."""

import numpy as np
import pytest
import torch

from qsep.evaluation.metrics.spectral_holes import spectral_hole_share

RATE = 8000


def tone(frequency_hz: float, seconds: float = 2.0) -> np.ndarray:
    return np.sin(2 * np.pi * frequency_hz * np.arange(int(seconds * RATE)) / RATE)


def test_a_sound_has_no_holes_in_itself_whatever_its_level_down_to_a_tenth() -> None:
    noise = torch.randn(3, 2, RATE, generator=torch.Generator().manual_seed(0))
    assert spectral_hole_share(noise, noise).shape == (3, 2)
    assert not spectral_hole_share(noise, noise).any()
    assert not spectral_hole_share(0.32 * noise, noise).any()  # 0.32^2 > 1 / 10 > 0.31^2
    assert (spectral_hole_share(0.31 * noise, noise) == 1).all()


def test_silence_is_one_hole_and_a_silent_target_has_none() -> None:
    assert spectral_hole_share(np.zeros(RATE), tone(440.0, 1.0)) == 1
    assert spectral_hole_share(tone(440.0, 1.0), np.zeros(RATE)) == 0


def test_of_two_equal_tones_one_is_half_of_the_audible_bins() -> None:
    target = tone(1000.0) + tone(3000.0)
    # The ends click.
    assert spectral_hole_share(tone(1000.0), target) == pytest.approx(0.5, abs=0.02)


def test_what_is_inaudible_is_no_hole() -> None:
    assert spectral_hole_share(tone(1000.0), tone(1000.0) + 1e-3 * tone(3000.0)) == pytest.approx(
        0, abs=0.01
    )

"""Holes filled from another estimate, and with noise of its spectrum."""

import pytest
import torch
from tiny import noise, rng

from qsep.evaluation.metrics.spectral_holes import spectral_holes
from qsep.recipes.benchmarks.quality.hole_filling import (
    hole_distance_db,
    mean_around,
    spectrum,
    with_filled_holes,
)

NUM = 16000


def high_half(waveform: torch.Tensor) -> torch.Tensor:
    """What is above a quarter of the sample rate."""
    spec = torch.fft.rfft(waveform)
    spec[: NUM // 4] = 0
    return torch.fft.irfft(spec, NUM)


def test_holes_that_are_filled_with_the_target_leave_the_target() -> None:
    target = noise(NUM, seed=1).double()
    masked = target - high_half(target)
    filled, _ = with_filled_holes(masked, target, target, rng(0))
    # Bins at the edge of the masked half are no holes: they keep a tenth of the energy or more.
    error = (filled - target).square().sum() / target.square().sum()
    assert 10 * torch.log10(error) < -15


def test_noise_in_holes_has_the_level_of_what_it_replaces_and_not_its_waveform() -> None:
    target = noise(NUM, seed=1).double()
    masked = target - high_half(target)
    generated = 0.5 * high_half(noise(NUM, seed=2).double())
    filled, with_noise = (
        high_half(one) for one in with_filled_holes(masked, generated, target, rng(0))
    )
    level_db = 10 * torch.log10(with_noise.square().sum() / filled.square().sum())
    assert abs(level_db) < 0.5
    assert torch.corrcoef(torch.stack([filled, generated]))[0, 1] > 0.95
    assert torch.corrcoef(torch.stack([with_noise, generated]))[0, 1].abs() < 0.05


def test_outside_the_holes_nothing_changes() -> None:
    target = noise(NUM, seed=1).double()
    loud = with_filled_holes(target, 5 * target, target, rng(0))
    for filled in loud:
        torch.testing.assert_close(filled, target, atol=1e-9, rtol=0)


def test_the_distance_in_holes_is_that_of_the_levels() -> None:
    target = noise(NUM, seed=1).double()
    masked = target - high_half(target)
    assert hole_distance_db(0.1 * target, masked, target) == pytest.approx(20.0)
    assert hole_distance_db(0 * target, masked, target) == pytest.approx(60.0)
    assert hole_distance_db(target, target, target) == 0.0
    holes, _ = spectral_holes(masked, target)
    assert spectrum(target).shape == holes.shape


def test_means_are_over_the_chosen_values_around() -> None:
    values = torch.arange(1.0, 64.0).reshape(7, 9)
    chosen = torch.zeros(7, 9, dtype=torch.bool)
    chosen[0, 0] = chosen[2, 1] = True
    means = mean_around(values, chosen)
    assert means[0, 0] == pytest.approx((1 + 20) / 2)
    assert means[4, 3] == pytest.approx(20)  # two away
    assert means[5, 3] == 0

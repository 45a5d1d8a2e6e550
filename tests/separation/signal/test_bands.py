"""qsep.separation.signal.bands against the formula worked by hand."""

import numpy as np
import pytest
import torch

from qsep.separation.signal.bands import band_weights

CASES = [(33, 32, 8000), (641, 128, 32000), (257, 64, 44100)]


def centres_hz(num_bands: int, sample_rate: int) -> np.ndarray:
    """Evenly spaced in log(1 + f / 1200 Hz), from 0 to the Nyquist frequency."""
    return 1200 * np.expm1(np.linspace(0, np.log1p(sample_rate / 2 / 1200), num_bands))


@pytest.mark.parametrize("case", CASES)
def test_weights_are_hat_functions_between_the_centres(case: tuple[int, int, int]) -> None:
    num_bins, num_bands, sample_rate = case
    bins_hz = np.arange(num_bins) * sample_rate / 2 / (num_bins - 1)
    centres, hats = centres_hz(num_bands, sample_rate), np.eye(num_bands)
    expected = np.stack([np.interp(bins_hz, centres, hat) for hat in hats], axis=1)
    # 1e-6: float32 of float64 shares
    np.testing.assert_allclose(band_weights(*case).numpy(), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("case", CASES)
def test_the_total_power_is_kept(case: tuple[int, int, int]) -> None:
    power = torch.rand(3, case[0], generator=torch.Generator().manual_seed(1))
    gathered = (power @ band_weights(*case)).sum(dim=-1)
    torch.testing.assert_close(gathered, power.sum(dim=-1), rtol=1e-5, atol=0)  # float32 sums


@pytest.mark.parametrize("case", CASES)
def test_a_band_mask_of_ones_is_a_bin_mask_of_ones(case: tuple[int, int, int]) -> None:
    bin_mask = torch.ones(case[1]) @ band_weights(*case).T
    torch.testing.assert_close(bin_mask, torch.ones(case[0]), rtol=0, atol=2e-7)  # one ulp


@pytest.mark.parametrize("case", CASES)
def test_weights_are_not_negative(case: tuple[int, int, int]) -> None:
    assert band_weights(*case).min() >= 0


def test_with_128_bands_at_32_khz_the_narrowest_is_as_wide_as_a_bin() -> None:
    assert np.diff(centres_hz(128, 32000)).min() == pytest.approx(25, abs=1)
    assert (band_weights(641, 128, 32000).sum(dim=0) > 0.5).all()  # so that no band is empty

"""qsep.separation.signal.mixing: powers and levels worked by hand."""

import pytest
import torch
from tiny import noise

from qsep.separation.signal.mixing import gain_for_snr, power


def test_power_is_the_mean_square_over_channels_and_samples() -> None:
    waveform = torch.tensor(
        [[[1.0, -2.0, 2.0], [0.0, 3.0, 0.0]], [[0.0, 0.0, 0.0], [6.0, 0.0, 0.0]]]
    )
    assert power(waveform).tolist() == [3.0, 6.0]  # (1 + 4 + 4 + 9) / 6, 36 / 6


def test_a_gain_of_one_tenth_lifts_equal_sounds_to_20_db() -> None:
    waveform = noise(3, 2, 101)
    torch.testing.assert_close(gain_for_snr(waveform, waveform, 20.0), torch.full((3,), 0.1))


@pytest.mark.parametrize("axes", [(3,), (2, 3)])
def test_each_item_gets_its_own_snr(axes: tuple[int, ...]) -> None:
    target, interferer = noise(*axes, 2, 101, seed=1), noise(*axes, 2, 101, seed=2, scale=3.0)
    snr_db = torch.linspace(-10, 10, axes[-1]).expand(axes)
    scaled = gain_for_snr(target, interferer, snr_db)[..., None, None] * interferer
    energies = [part.double().square().sum(dim=(-2, -1)) for part in (target, scaled)]
    measured = 10 * torch.log10(energies[0] / energies[1])
    # 1e-4 dB: the gain is a float32
    torch.testing.assert_close(measured, snr_db.double(), atol=1e-4, rtol=0)


def test_a_silent_interferer_gets_no_gain() -> None:
    target = noise(2, 1, 101)
    interferer = torch.stack([noise(1, 101, seed=3), torch.zeros(1, 101)])
    gain = gain_for_snr(target, interferer, 0.0)
    assert gain[0] > 0
    assert gain[1] == 0


def test_a_silent_target_silences_the_interferer() -> None:
    assert gain_for_snr(torch.zeros(1, 2, 101), noise(1, 2, 101), 5.0).tolist() == [0.0]

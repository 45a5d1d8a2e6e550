"""qsep.separation.objectives.snr: values worked by hand."""

import math
from typing import Any

import pytest
import torch

from qsep.separation.objectives.snr import negative_si_snr, negative_snr, thresholded_snr_loss


def loss(error: float, target: float, mixture: float, **settings: Any) -> float:
    energies = torch.tensor([[error], [target], [mixture]])
    return thresholded_snr_loss(energies[0], energies[1], energies[2], **settings).item()


@pytest.mark.parametrize(
    ("error", "target", "expected_db"),
    [
        (8.0, 8.0, 10 * math.log10(1.001)),  # estimate silence: 0 dB and the threshold's thousandth
        (0.8, 8.0, 10 * math.log10(0.101)),
        (8000.0, 8.0, 10 * math.log10(1000.001)),
        # As much error as the threshold: 3 dB above the floor.
        (0.008, 8.0, 10 * math.log10(0.002)),
    ],
)
def test_a_present_source_scores_its_error_under_itself(
    error: float, target: float, expected_db: float
) -> None:
    # 1e-5 dB: float32 logarithms; the mixture's level must not matter
    assert loss(error, target, mixture=123.0) == pytest.approx(expected_db, abs=1e-5)


def test_an_absent_source_scores_what_leaks_under_the_mixture() -> None:
    assert loss(0.5, 0.0, mixture=50.0) == pytest.approx(10 * math.log10(0.011), abs=1e-5)


def test_no_error_scores_the_floor() -> None:
    assert loss(0.0, 8.0, 9.0) == pytest.approx(-30, abs=1e-5)
    assert loss(0.0, 8.0, 9.0, floor_db=17.0) == pytest.approx(-17, abs=1e-5)
    assert loss(0.0, 0.0, 9.0) == pytest.approx(-30, abs=1e-5)


def test_silence_kept_silent_scores_the_floor() -> None:
    assert loss(0.0, 0.0, 0.0) == pytest.approx(-30, abs=1e-5)


def test_the_level_of_everything_together_does_not_matter() -> None:
    assert loss(3e-5, 2e-4, 1e-3) == pytest.approx(loss(3.0, 20.0, 100.0), abs=1e-5)


def test_the_gradient_fades_where_the_error_is_under_the_floor() -> None:
    error = torch.tensor([1e-5, 1.0], requires_grad=True)
    thresholded_snr_loss(error, torch.ones(2), torch.ones(2)).sum().backward()
    assert error.grad is not None
    # d/de 10 log10(e + 0.001) = 10 / ln 10 / (e + 0.001): relative changes weigh e / (e + 0.001)
    expected = 10 / math.log(10) / (error.detach() + 0.001)
    torch.testing.assert_close(error.grad, expected, rtol=1e-5, atol=0)  # float32


def test_every_entry_is_scored_by_itself() -> None:
    energies = torch.rand(3, 2, 4, generator=torch.Generator().manual_seed(2)) * 9
    energies[1, 0, 2] = 0
    scores = thresholded_snr_loss(*energies)
    for row in range(2):
        for column in range(4):
            alone = thresholded_snr_loss(*(e[row, column] for e in energies))
            torch.testing.assert_close(scores[row, column], alone, rtol=1e-6, atol=1e-6)  # float32


def test_plain_and_scale_invariant_ratios_are_those_of_torchmetrics() -> None:
    """Two items of one channel, with means; -0.9 SNR - 0.1 SI-SNR is CLAPSep's loss."""
    from torchmetrics.functional.audio import (
        scale_invariant_signal_noise_ratio,
        signal_noise_ratio,
    )

    generator = torch.Generator().manual_seed(0)
    target = torch.randn(2, 1, 301, generator=generator) + 0.3
    estimate = 0.7 * target + 0.2 * torch.randn(2, 1, 301, generator=generator) - 0.1
    plain = signal_noise_ratio(estimate[:, 0], target[:, 0])
    torch.testing.assert_close(negative_snr(estimate, target), -plain, atol=1e-4, rtol=0)
    invariant = scale_invariant_signal_noise_ratio(estimate[:, 0], target[:, 0])
    torch.testing.assert_close(negative_si_snr(estimate, target), -invariant, atol=1e-4, rtol=0)


def test_the_ratio_of_two_channels_is_that_of_their_energies() -> None:
    """Errors 1 and 3 of energies 8 and 2: 10 log10(4 / 10) dB."""
    target = torch.tensor([[[2.0, 2.0], [1.0, 1.0]]])
    estimate = torch.tensor([[[1.0, 2.0], [1.0, 1.0 + 3**0.5]]])
    assert negative_snr(estimate, target).item() == pytest.approx(10 * math.log10(0.4), abs=1e-5)


def test_the_scale_of_an_estimate_does_not_matter_to_the_scale_invariant_ratio() -> None:
    generator = torch.Generator().manual_seed(2)
    target = torch.randn(3, 2, 50, generator=generator)
    estimate = target + torch.randn(3, 2, 50, generator=generator)
    louder = negative_si_snr(5 * estimate + 1, target)
    torch.testing.assert_close(louder, negative_si_snr(estimate, target), atol=1e-4, rtol=0)


def test_ratios_of_silence_are_finite_and_so_are_their_gradients() -> None:
    silence = torch.zeros(1, 1, 9)
    for ratio in (negative_snr, negative_si_snr):
        estimate = torch.zeros(1, 1, 9, requires_grad=True)
        value = ratio(estimate, silence)
        value.backward()
        assert value.item() == 0
        assert estimate.grad is not None
        assert estimate.grad.isfinite().all()

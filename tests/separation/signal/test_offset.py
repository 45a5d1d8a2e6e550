"""without_offset: a recorder's DC offset goes, and nothing else."""

import pytest
import torch

from qsep.separation.signal.offset import POOL_HOPS, REACH_HOPS, without_offset

HOP = 640


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("num_samples", [POOL_HOPS * HOP, 23 * HOP + 1, 70001])
def test_a_constant_goes_to_its_last_sample(num_samples: int) -> None:
    levels = torch.tensor([0.3, -0.02, 1e-5]).reshape(3, 1, 1).expand(3, 2, num_samples)
    rest = without_offset(levels, HOP)
    assert (rest / levels).abs().max() < 2e-6  # the square of MIN_SHARE, and rounding


@pytest.mark.parametrize("offset", [0.02, 0.1, -1.0])
def test_what_was_recorded_with_an_offset_is_as_without(offset: float) -> None:
    waveform = 0.1 * noise(2, 3, 90001)
    error = without_offset(waveform + offset, HOP) - waveform
    # The noise has a mean of its own over half a second.
    assert error.square().mean().sqrt() < 0.1 * 1e-2


def test_sound_without_an_offset_stays() -> None:
    waveform = noise(2, 1, 90001)
    assert (without_offset(waveform, HOP) - waveform).square().mean().sqrt() < 1e-3
    times = torch.arange(64000) / 32000
    for frequency_hz in (10, 50, 997):
        tone = torch.sin(2 * torch.pi * frequency_hz * times)
        change = without_offset(tone, HOP) - tone
        assert change[16000:48000].abs().max() < 1e-6


@pytest.mark.parametrize("num_samples", [1, 7, HOP, 11 * HOP])
def test_short_recordings_stay(num_samples: int) -> None:
    waveform = 0.5 + noise(2, num_samples)
    assert torch.equal(without_offset(waveform, HOP), waveform)


def test_an_offset_that_drifts_is_followed() -> None:
    drift = 0.2 * torch.exp(-torch.arange(320000) / 160000)  # over five seconds
    waveform = 0.05 * noise(320000)
    error = (without_offset(waveform + drift, HOP) - waveform)[16000:-16000]
    assert error.square().mean().sqrt() < 0.02 * 0.05


def test_the_result_scales_with_the_recording() -> None:
    waveform = 0.1 * noise(1, 50001) + 0.03
    expected = without_offset(waveform, HOP)
    for gain in (1e-4, 100.0):
        torch.testing.assert_close(
            without_offset(gain * waveform, HOP) / gain, expected, rtol=0, atol=1e-6
        )


def test_no_sample_depends_on_hops_beyond_the_reach() -> None:
    waveform = (0.1 * noise(1, 120 * 32, seed=3) + 0.05).requires_grad_()
    without_offset(waveform, 32)[0, 60 * 32].backward()
    assert waveform.grad is not None
    (reached,) = waveform.grad[0].nonzero(as_tuple=True)
    assert 60 - int(reached.min()) // 32 == REACH_HOPS
    assert int(reached.max()) // 32 - 60 <= REACH_HOPS

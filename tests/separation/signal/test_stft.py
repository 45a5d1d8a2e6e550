"""qsep.separation.signal.stft against NumPy's FFT."""

import numpy as np
import pytest
import torch
from tiny import noise

from qsep.separation.signal.stft import istft, num_frames, stft

WINDOW, HOP = 24, 12


def sqrt_hann(num_samples: int) -> np.ndarray:
    """Written as sin(pi n / N), whose square is the periodic Hann window."""
    return np.sin(np.pi * np.arange(num_samples) / num_samples)


@pytest.mark.parametrize("num_samples", [1, 2, 11, 12, 13, 24, 25, 101])
def test_every_length_is_reconstructed(num_samples: int) -> None:
    waveform = noise(2, 3, num_samples, scale=1.0)
    spec = stft(waveform, WINDOW, HOP)
    assert spec.shape == (2, 3, 13, num_frames(num_samples, HOP))
    # 1e-6: float32 round trip of values around 1
    torch.testing.assert_close(istft(spec, WINDOW, HOP, num_samples), waveform, atol=1e-6, rtol=0)


def test_a_frame_is_the_fft_of_the_windowed_samples_around_its_multiple_of_the_hop() -> None:
    waveform = noise(1, 2, 101, scale=1.0)
    spec = stft(waveform, WINDOW, HOP)
    surrounded = np.pad(waveform[0, 1].numpy().astype(np.float64), 2 * WINDOW)
    for frame in range(num_frames(101, HOP)):
        start = 2 * WINDOW + frame * HOP - WINDOW // 2
        expected = np.fft.rfft(surrounded[start : start + WINDOW] * sqrt_hann(WINDOW))
        # 1e-5: float32 sums of 24 values around 1
        np.testing.assert_allclose(spec[0, 1, :, frame].numpy(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("num_samples", "expected"), [(1, 2), (12, 2), (13, 3), (24, 3), (101, 10)]
)
def test_frames_lie_on_every_multiple_of_the_hop_that_covers_the_waveform(
    num_samples: int, expected: int
) -> None:
    assert num_frames(num_samples, HOP) == expected
    assert stft(noise(1, num_samples), WINDOW, HOP).shape[-1] == expected


@pytest.mark.parametrize("num_samples", [1, 13, 101])
def test_the_energy_of_the_spectrum_is_the_window_length_times_that_of_the_waveform(
    num_samples: int,
) -> None:
    waveform = noise(2, num_samples, scale=1.0).double()
    power = stft(waveform, WINDOW, HOP).abs().square().sum(dim=-1)
    both_halves = 2 * power.sum(dim=-1) - power[:, 0] - power[:, -1]  # 0 Hz and Nyquist occur once
    energy = waveform.square().sum(dim=-1)
    # 1e-12: float64; Parseval, and squared windows that overlap-add to 1
    torch.testing.assert_close(both_halves, WINDOW * energy, rtol=1e-12, atol=0)


def test_resynthesis_never_raises_the_energy_of_a_changed_spectrum() -> None:
    spec = stft(noise(2, 101, scale=1.0).double(), WINDOW, HOP)
    changed = spec * torch.rand(spec.shape, generator=torch.Generator().manual_seed(3)).to(spec)
    power = changed.abs().square().sum(dim=-1)
    both_halves = 2 * power.sum(dim=-1) - power[:, 0] - power[:, -1]
    energy = istft(changed, WINDOW, HOP, 101).square().sum(dim=-1)
    assert (energy <= both_halves / WINDOW).all()  # the inverse of a tight frame is a projection


def test_an_empty_batch_has_an_empty_spectrum() -> None:
    spec = stft(torch.zeros(0, 2, 101), WINDOW, HOP)
    assert spec.shape == (0, 2, 13, 10)
    assert spec.is_complex()

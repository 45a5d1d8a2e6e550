"""Around the networks of the CLIPSep family: warping, segments, masks applied to spectra."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny import noise
from torch import Tensor

from qsep.separation.networks.masks.log_frequency import LogFrequency, SpectrogramConfig, repeat_to
from qsep.separation.networks.masks.magnitude_masks import MagnitudeMasks, SegmentConfig
from qsep.separation.signal.segments import over_segments, segment_starts
from qsep.separation.signal.stft import hann_istft, hann_stft
from qsep.separation.signal.warp import unwarp, warp

SMALL = SpectrogramConfig(
    sample_rate=8000, window_samples=64, hop_samples=32, num_rows=24, segment_frames=16
)


def by_grid_sample(values: Tensor, places: np.ndarray) -> Tensor:
    """Bilinear interpolation with aligned corners, as the authors' code has it."""
    num_frames = values.shape[-1]
    across = np.broadcast_to(np.linspace(-1, 1, num_frames), (len(places), num_frames))
    down = np.broadcast_to(places[:, None], across.shape)
    grid = torch.from_numpy(np.stack([across, down], axis=-1).astype(np.float32))
    return F.grid_sample(values[None, None], grid[None], align_corners=True)[0, 0]


def test_warping_is_the_published_resampling_and_unwarping_its_inverse() -> None:
    spectrogram = noise(513, 7, scale=1.0).abs()
    v, u = np.linspace(-1, 1, 256), np.linspace(-1, 1, 513)
    expected = by_grid_sample(spectrogram, (21 ** ((v + 1) / 2) - 11) / 10)
    # 1e-4: the grid's float32 places are off by 1e-5 of a frame and of a row
    torch.testing.assert_close(warp(spectrogram, 256), expected, atol=1e-4, rtol=0)
    rows = by_grid_sample(expected, np.log(u * 10 + 11) * 2 / np.log(21) - 1)
    torch.testing.assert_close(unwarp(expected, 513), rows, atol=1e-4, rtol=0)


def test_a_smooth_mask_survives_warping_and_back() -> None:
    mask = torch.linspace(0, 1, 513)[:, None].expand(-1, 3).sin()
    # 2e-4: linear interpolation between rows up to six bins apart
    torch.testing.assert_close(unwarp(warp(mask, 256), 513), mask, atol=2e-4, rtol=0)


@pytest.mark.parametrize(
    ("num_frames", "starts"), [(16, [0]), (17, [0, 1]), (28, [0, 12]), (41, [0, 12, 24, 25])]
)
def test_segments_step_evenly_and_the_last_ends_at_the_end(
    num_frames: int, starts: list[int]
) -> None:
    assert segment_starts(num_frames, 16, 12) == starts


@pytest.mark.parametrize("num_frames", [16, 17, 27, 100])
def test_unchanged_segments_join_to_the_input(num_frames: int) -> None:
    frames = noise(2, 3, num_frames, scale=1.0)
    joined = over_segments(frames, 16, 12, lambda segment: segment)
    torch.testing.assert_close(joined, frames)  # rounding of weighted means


def test_overlapping_segments_fade_into_each_other() -> None:
    levels = iter([0.0, 1.0])
    joined = over_segments(
        torch.zeros(28), 16, 12, lambda segment: torch.full_like(segment, next(levels))
    )
    assert joined[:12].abs().max() == 0
    torch.testing.assert_close(joined[12:16], torch.tensor([0.125, 0.375, 0.625, 0.875]))
    assert (joined[16:] == 1).all()


@pytest.mark.parametrize("num_samples", [1, 31, 32, 500, 641])
def test_the_spectrum_gives_the_waveform_back(num_samples: int) -> None:
    waveform = noise(2, 3, num_samples)
    spec = hann_stft(waveform, 64, 32)
    assert spec.shape == (2, 3, 33, 1 + num_samples // 32)
    # 1e-6: float32 transforms there and back
    torch.testing.assert_close(hann_istft(spec, 64, 32, num_samples), waveform, atol=1e-6, rtol=0)


def test_a_frame_is_the_fft_of_hann_windowed_samples() -> None:
    waveform = noise(1000)
    padded = np.pad(waveform.numpy().astype(float), 32)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(64) / 64)
    expected = np.stack([np.fft.rfft(window * padded[32 * n :][:64]) for n in range(32)], axis=-1)
    torch.testing.assert_close(
        hann_stft(waveform, 64, 32),
        torch.from_numpy(expected).to(torch.complex64),
        atol=1e-5,
        rtol=0,
    )


@pytest.mark.parametrize(
    ("mask", "hard", "gain"),
    [(1.0, False, 1.0), (0.25, False, 0.25), (0.25, True, 0.0), (0.75, True, 1.0)],
)
def test_a_mask_of_one_value_is_a_gain(mask: float, hard: bool, gain: float) -> None:
    front = LogFrequency(SpectrogramConfig(**{**vars(SMALL), "hard_mask": hard}))
    mixture = noise(2, 3, 1601)

    def masks_of(log_magnitude: Tensor) -> Tensor:
        assert log_magnitude.shape == (2, 24, 16)
        return torch.full((2, 4, 24, 16), mask)

    target = front.separate(mixture, masks_of).target
    expected = gain * mixture[:, None].expand(-1, 4, -1, -1)
    torch.testing.assert_close(target, expected, atol=1e-6, rtol=0)


def test_sounds_in_opposite_phase_do_not_cancel() -> None:
    front = LogFrequency(SMALL)
    left = noise(1, 1, 700)
    stereo = front.rows(front.spectrum(torch.cat([left, -left], dim=1)))
    torch.testing.assert_close(stereo, front.rows(front.spectrum(left)))


def test_short_mixtures_are_repeated_from_their_start() -> None:
    waveform = torch.tensor([[1.0, 2.0, 3.0]])
    assert repeat_to(waveform, 7).tolist() == [[1, 2, 3, 1, 2, 3, 1]]
    assert repeat_to(waveform, 3) is waveform
    assert repeat_to(waveform, 2) is waveform


@pytest.mark.parametrize("rest", [0, 1, 16, 31])  # samples after the last whole hop
@pytest.mark.parametrize(
    "front_end",
    [LogFrequency(SMALL), MagnitudeMasks(SegmentConfig(8000, 64, 32, 16))],
    ids=["log_frequency", "magnitude_masks"],
)
def test_short_windows_amplify_nothing_at_the_end(front_end: Any, rest: int) -> None:
    """A recording's last samples lie under the rim of one window, whose square the inverse divides by."""
    mixture = noise(1, 1, 32 * 40 + rest)

    def at_random(frames: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(frames.shape[-2])
        return torch.rand(1, 1, *frames.shape[-2:], generator=generator).round()

    target = front_end.separate(mixture, at_random).target
    assert target.shape == (1, 1, 1, 32 * 40 + rest)
    # The mean of a random mask is a half: no sample is far above the loudest of the mixture.
    assert target.abs().max() < 1.5 * mixture.abs().max()

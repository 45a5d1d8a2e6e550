"""qsep.separation.signal.mel and .levels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import noise

from qsep.separation.signal.levels import levels
from qsep.separation.signal.mel import MelConfig, log_mel, mel_filters

ODD = MelConfig(22050, 1000, 210, 37, 55.0, 9000.0)


@pytest.mark.slow  # where librosa and Numba are not compiled yet
@pytest.mark.parametrize("config", [MelConfig(), ODD], ids=["flowsep", "odd"])
def test_filters_are_those_of_librosa(config: MelConfig) -> None:
    from librosa.filters import mel as librosa_mel_filters  # imports Numba

    expected = librosa_mel_filters(
        sr=config.sample_rate,
        n_fft=config.window_samples,
        n_mels=config.num_bands,
        fmin=config.min_hz,
        fmax=config.max_hz,
    )
    # 1e-6 of the largest: roundings to float32, here of the end and there on the way
    np.testing.assert_allclose(mel_filters(config), expected, atol=1e-6 * expected.max())


@pytest.mark.parametrize("config", [MelConfig(), ODD], ids=["flowsep", "odd"])
def test_log_mel_is_the_logarithm_of_a_numpy_transform_under_the_filters(config: MelConfig) -> None:
    waveform = noise(2, 3, 4003)
    size, hop = config.window_samples, config.hop_samples
    padded = np.pad(waveform.double(), ((0, 0), (0, 0), (size // 2, size // 2)), mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    starts = range(0, 4003 + 1, hop)
    frames = np.stack([padded[..., start : start + size] * window for start in starts], axis=-2)
    mel = np.abs(np.fft.rfft(frames)) @ mel_filters(config).double().numpy().T
    actual = log_mel(waveform, config)
    assert actual.shape == (2, 3, 1 + 4003 // hop, config.num_bands)
    # 1e-5: float32 transforms, of bands down to 1e-2
    np.testing.assert_allclose(actual, np.log(np.maximum(mel, 1e-5)), atol=1e-5)


def test_silence_lies_at_the_floor() -> None:
    actual = log_mel(torch.zeros(1, 2000), replace(MelConfig(), num_bands=8))
    assert torch.equal(actual, torch.full((1, 13, 8), 1e-5).log())


def test_a_waveform_of_one_cell_has_one_mean_and_one_peak() -> None:
    waveform = noise(2, 3, 501) + 0.2
    actual = levels(waveform, 501)
    mean = waveform.mean(dim=-1, keepdim=True)
    torch.testing.assert_close(actual.offset, mean.expand(2, 3, 501))
    peak = (waveform - mean).abs().amax(dim=(1, 2), keepdim=True)
    torch.testing.assert_close(actual.peak, peak.expand(2, 1, 501))


def test_levels_are_straight_lines_between_the_borders_of_cells() -> None:
    # cells of 4, the last half full: means 1, 3, 0; around them at most 0, 2, 5
    waveform = torch.tensor([[[1.0] * 4 + [1, 5, 3, 3] + [5, -5]]])
    actual = levels(waveform, 4)
    assert actual.offset.flatten().tolist() == [
        1,
        1.25,
        1.5,
        1.75,
        2,
        1.875,
        1.75,
        1.625,
        1.5,
        1.125,
    ]
    assert actual.peak.flatten().tolist() == [0, 0.5, 1, 1.5, 2, 2.75, 3.5, 4.25, 5, 5]


def test_no_sample_of_a_waveform_without_offset_is_above_its_level() -> None:
    waveform = noise(2, 3, 1003)
    waveform[..., 400:420] *= 50
    waveform -= waveform.mean(dim=-1, keepdim=True)
    actual = levels(waveform, 100)
    assert ((waveform - actual.offset).abs() <= 1.05 * actual.peak).all()  # 5 %: the means of cells


def test_levels_know_of_neighbouring_cells_alone() -> None:
    waveform = noise(1, 2, 1000)
    changed = waveform.clone()
    changed[..., 555] += 9
    before, after = levels(waveform, 100), levels(changed, 100)
    for part in ("offset", "peak"):
        differs = (getattr(before, part) != getattr(after, part)).any(dim=1)[0].nonzero()[:, 0]
        assert differs.min() > 400
        assert differs.max() < 700

"""ReadOptions: NaN set to zero, channels mixed down, damaged files read as far as possible."""

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile

from qsep.separation.audio.reader import AudioError, AudioReader
from qsep.separation.audio.source import ReadOptions

RATE = 11025


def read(path: Path, block_samples: int, **options: object) -> np.ndarray:
    with AudioReader(path, options=ReadOptions(**options)) as reader:  # type: ignore[arg-type]
        return np.concatenate(list(reader.blocks(block_samples)), axis=1)


@pytest.fixture
def noise() -> np.ndarray:
    """(2, 40001), 16-bit values."""
    return np.random.default_rng(4).integers(-(2**14), 2**14, (2, 40001)) / 2**15


@pytest.mark.parametrize("block_samples", [999, 1 << 17])
def test_nan_and_infinite_samples_become_zero_and_are_counted_with_their_times(
    tmp_path: Path, noise: np.ndarray, block_samples: int, caplog: pytest.LogCaptureFixture
) -> None:
    stored = noise.astype(np.float32)
    stored[0, 2205:2215], stored[1, 2210], stored[1, 33075] = np.nan, np.inf, -np.inf
    soundfile.write(tmp_path / "a.wav", stored.T, RATE, subtype="FLOAT")
    with caplog.at_level(logging.WARNING):
        waveform = read(tmp_path / "a.wav", block_samples, nan="zero")
    expected = np.nan_to_num(stored, nan=0, posinf=0, neginf=0)
    np.testing.assert_array_equal(waveform, expected)
    (warning,) = caplog.messages
    assert "12 NaN or infinite samples from 0.200 to 3.000 s were set to zero" in warning


def test_by_default_they_are_refused(tmp_path: Path, noise: np.ndarray) -> None:
    noise[1, 2205] = np.nan
    soundfile.write(tmp_path / "a.wav", noise.T, RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"sample at 0\.200 s: .* or separate it with --nan zero"):
        read(tmp_path / "a.wav", 5000)


def test_another_choice_is_refused() -> None:
    with pytest.raises(ValueError, match="nan is 'keep'; expected refuse or zero"):
        ReadOptions(nan="keep")


@pytest.mark.parametrize("num_channels", [1, 2, 6])
def test_mono_is_the_mean_of_the_channels(tmp_path: Path, num_channels: int) -> None:
    stored = np.random.default_rng(5).uniform(-0.9, 0.9, (num_channels, 3001)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", stored.T, RATE, subtype="FLOAT")
    waveform = read(tmp_path / "a.wav", 700, mono=True)
    assert waveform.shape == (1, 3001)
    expected = stored.astype(np.float64).sum(axis=0) / num_channels
    np.testing.assert_allclose(waveform[0], expected, rtol=0, atol=6e-8)  # one rounding


@pytest.mark.parametrize("block_samples", [999, 1 << 17])
def test_a_flac_that_was_cut_is_salvaged_up_to_there(
    tmp_path: Path, noise: np.ndarray, block_samples: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, noise.T, RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(AudioError, match=r"damaged after .* or separate it with --salvage"):
        read(path, block_samples)
    with caplog.at_level(logging.WARNING):
        waveform = read(path, block_samples, salvage=True)
    # Whole blocks of libFLAC's 4,096 samples, in a file of nearly constant bit rate.
    assert waveform.shape[1] % 4096 == 0
    assert 0.6 * 40001 - 2 * 4096 <= waveform.shape[1] <= 0.6 * 40001
    np.testing.assert_array_equal(waveform, noise[:, : waveform.shape[1]])
    lost = (40001 - waveform.shape[1]) / RATE
    assert f"where {lost:.2f} s are lost" in caplog.messages[0]


@pytest.mark.parametrize("block_samples", [999, 1 << 17])
def test_what_follows_damage_keeps_its_place(
    tmp_path: Path, noise: np.ndarray, block_samples: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, noise.T, RATE)
    content = bytearray(path.read_bytes())
    for share in (0.3, 0.7):
        first = int(share * len(content))
        content[first : first + 60] = np.random.default_rng(6).bytes(60)
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        waveform = read(path, block_samples, salvage=True)
    assert waveform.shape == noise.shape
    silent = ~waveform.any(axis=0)
    np.testing.assert_array_equal(waveform[:, ~silent], noise[:, ~silent])
    assert silent.sum() == 2 * 4096  # the two blocks that were hit
    assert caplog.messages[0].count("0.37 s are lost and now silent") == 2


def test_an_undamaged_file_is_salvaged_unchanged(
    tmp_path: Path, noise: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.flac", "a.wav"):
        soundfile.write(tmp_path / name, noise.T, RATE, subtype="PCM_16")
        with caplog.at_level(logging.WARNING):
            waveform = read(tmp_path / name, 12345, salvage=True)
        np.testing.assert_array_equal(waveform, noise)
    assert caplog.text == ""

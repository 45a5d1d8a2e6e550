"""qsep.separation.audio.sample_format: target and residual sum to the mixture in every format."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from qsep.separation.audio.sample_format import encode, quantise, sample_dtype, split
from qsep.separation.audio.writer import AudioWriter

PCM = ["PCM_U8", "PCM_16", "PCM_24", "PCM_32"]


def rewritten(folder: Path, waveform: np.ndarray, subtype: str) -> np.ndarray:
    """Written by us and read by libsndfile, in float64, (c, t)."""
    path = folder / "again.wav"
    with AudioWriter(path, 22050, waveform.shape[0], subtype) as writer:
        writer.write(waveform)
    return soundfile.read(path, dtype="float64", always_2d=True)[0].T


def mixture_and_estimate(folder: Path, subtype: str) -> tuple[np.ndarray, np.ndarray]:
    """A full-scale mixture as libsndfile stores it in the subtype, and a model's float32 output."""
    rng = np.random.default_rng(3)
    mixture = rng.uniform(-1, 1, (3, 1237))
    path = folder / "mixture.wav"
    soundfile.write(path, mixture.T, 22050, subtype=subtype)
    stored = soundfile.read(path, dtype="float64", always_2d=True)[0].T
    estimate = (mixture * rng.uniform(-0.3, 1.2, (3, 1237))).astype(np.float32)
    return stored, estimate


@pytest.mark.parametrize("subtype", PCM)
def test_written_pcm_parts_sum_to_the_mixture_exactly(tmp_path: Path, subtype: str) -> None:
    mixture, estimate = mixture_and_estimate(tmp_path, subtype)
    parts = split(mixture, estimate, subtype)
    target, residual = (rewritten(tmp_path, part, subtype) for part in parts)
    np.testing.assert_array_equal(target + residual, mixture)


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_written_float_parts_sum_to_the_mixture_within_an_ulp(tmp_path: Path, subtype: str) -> None:
    mixture, estimate = mixture_and_estimate(tmp_path, subtype)
    parts = split(mixture, estimate, subtype)
    target, residual = (rewritten(tmp_path, part, subtype) for part in parts)
    largest = np.maximum(np.abs(mixture), np.abs(residual)).astype(sample_dtype(subtype))
    # the residual is rounded once; for DOUBLE the sum here is rounded once more
    assert (np.abs(target + residual - mixture) <= np.spacing(largest)).all()


@pytest.mark.parametrize("subtype", PCM)
def test_the_target_moves_by_half_a_step_at_most(tmp_path: Path, subtype: str) -> None:
    mixture, estimate = mixture_and_estimate(tmp_path, subtype)
    mixture, estimate = 0.5 * mixture, 0.5 * estimate  # their difference does not clip
    step = 2.0 ** (1 - {"PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}[subtype])
    target, _ = split(mixture, estimate, subtype)
    assert np.abs(target - estimate).max() <= step / 2


@pytest.mark.parametrize("subtype", [*PCM, "FLOAT", "DOUBLE"])
def test_quantised_values_come_back_bit_equal(tmp_path: Path, subtype: str) -> None:
    waveform = np.random.default_rng(5).uniform(-1.1, 1.1, (2, 1013))
    waveform[:, :4] = [[-1, 1, 0, 0.5], [1, -1, 0.25, 0]]
    quantised = quantise(waveform, subtype)
    np.testing.assert_array_equal(rewritten(tmp_path, quantised, subtype), quantised)


def test_overload_is_clamped_and_never_wraps() -> None:
    waveform = np.array([[1.0, 1.5, 1e30, -1.0, -1.5, -1e30]])
    np.testing.assert_array_equal(
        np.frombuffer(encode(quantise(waveform, "PCM_16"), "PCM_16"), "<i2"),
        [32767, 32767, 32767, -32768, -32768, -32768],
    )


def test_overshoot_of_a_decoded_mixture_stays_out_of_the_target() -> None:
    mixture, silence = np.array([[1.2, -0.7]], np.float32), np.zeros((1, 2), np.float32)
    target, residual = split(mixture, silence, "PCM_16")
    np.testing.assert_array_equal(target, silence)
    assert residual[0, 0] == pytest.approx(1.2, abs=2**-16)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_32", "FLOAT"])
def test_a_target_that_is_not_finite_does_not_become_full_scale(value: float, subtype: str) -> None:
    mixture = np.full((1, 5), 0.25)
    target = np.array([[0.125, value, 0.125, 0, 0]])
    part, residual = split(mixture, target, subtype)
    assert (
        np.isfinite(part).tolist() == np.isfinite(residual).tolist() == np.isfinite(target).tolist()
    )

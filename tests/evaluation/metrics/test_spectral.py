"""qsep.evaluation.metrics.spectral and sa_sdr against closed forms, SciPy and torchmetrics."""

import math

import numpy as np
import pytest
import torch

from qsep.evaluation.metrics.sdr import sa_sdr
from qsep.evaluation.metrics.spectral import (
    RESOLUTIONS,
    log_spectral_distance_db,
    multi_resolution_distance,
)

RNG = np.random.default_rng(3)
REFERENCE = RNG.normal(0, 0.2, 5003)
ESTIMATE = 0.7 * REFERENCE + RNG.normal(0, 0.05, 5003)


def by_scipy(waveform: np.ndarray, window_samples: int, hop_samples: int) -> np.ndarray:
    """(f, n): SciPy's centred STFT in its spectrum scaling, which divides by the window's sum."""
    from scipy.signal import ShortTimeFFT
    from scipy.signal.windows import hann

    window = hann(window_samples, sym=False)
    transform = ShortTimeFFT(window, hop_samples, 1, scale_to="magnitude", phase_shift=None)
    num_frames = 1 + len(waveform) // hop_samples
    return np.abs(transform.stft(waveform, p0=0, p1=num_frames))


def test_log_spectral_distance_equals_scipys() -> None:
    spectra = [by_scipy(waveform, 2048, 512) for waveform in (ESTIMATE, REFERENCE)]
    first, second = (20 * np.log10(np.maximum(mag, 1e-5)) for mag in spectra)
    expected = np.sqrt(((first - second) ** 2).mean(axis=0)).mean()
    # 1e-9 of about 4 dB: the same sums in another order
    assert float(log_spectral_distance_db(ESTIMATE, REFERENCE)) == pytest.approx(expected, rel=1e-9)


def test_multi_resolution_distance_equals_scipys() -> None:
    terms = []
    for window_samples, hop_samples in RESOLUTIONS:
        estimate, reference = (
            np.maximum(by_scipy(waveform, window_samples, hop_samples), 1e-5)
            for waveform in (ESTIMATE, REFERENCE)
        )
        convergence = np.linalg.norm(reference - estimate) / np.linalg.norm(reference)
        terms.append(convergence + np.abs(np.log(estimate / reference)).mean())
    actual = float(multi_resolution_distance(ESTIMATE, REFERENCE))
    assert actual == pytest.approx(np.mean(terms), rel=1e-9)


@pytest.mark.parametrize("gain", [0.5, 3.0])
def test_a_gain_is_as_far_as_its_logarithm(gain: float) -> None:
    loud = 100 * REFERENCE  # no bin near the floor
    assert float(log_spectral_distance_db(gain * loud, loud)) == pytest.approx(
        abs(20 * math.log10(gain)), rel=1e-9
    )
    assert float(multi_resolution_distance(gain * loud, loud)) == pytest.approx(
        abs(1 - gain) + abs(math.log(gain)), rel=1e-9
    )


def test_equal_signals_have_no_distance_even_if_silent() -> None:
    for signal in (REFERENCE, np.zeros(3001)):
        assert float(log_spectral_distance_db(signal, signal)) == 0
        assert float(multi_resolution_distance(signal, signal)) == 0


def test_a_silent_signal_counts_as_one_of_minus_a_hundred_decibels() -> None:
    silence, loud = np.zeros(5003), 100 * REFERENCE
    level = 20 * np.log10(by_scipy(loud, 2048, 512) / 1e-5)
    expected = np.sqrt((level**2).mean(axis=0)).mean()
    for pair in ((silence, loud), (loud, silence)):
        assert float(log_spectral_distance_db(*pair)) == pytest.approx(expected, rel=1e-9)
        assert float(multi_resolution_distance(*pair)) > 1


def test_each_leading_dimension_keeps_its_own_distance() -> None:
    estimate, reference = RNG.normal(0, 0.2, (2, 3, 2, 1500))
    for metric in (log_spectral_distance_db, multi_resolution_distance):
        together = metric(estimate, reference)
        assert together.shape == (3, 2)
        alone = metric(estimate[2, 1], reference[2, 1])
        assert float(together[2, 1]) == pytest.approx(float(alone), rel=1e-9)


def test_source_aggregated_sdr_of_two_sources_by_hand() -> None:
    references = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 0.0]])  # energies 25 and 0
    estimates = torch.tensor([[3.0, 4.0, 0.3], [0.0, 0.4, 0.0]])  # errors 0.09 and 0.16
    assert float(sa_sdr(estimates, references)) == pytest.approx(20.0, abs=1e-6)  # float32 input


def test_source_aggregated_sdr_sums_over_sources_alone() -> None:
    estimates, references = RNG.normal(0, 0.2, (2, 3, 4, 700))
    errors = ((references - estimates) ** 2).sum(axis=(1, 2))
    expected = 10 * np.log10((references**2).sum(axis=(1, 2)) / errors)
    assert sa_sdr(estimates, references).numpy() == pytest.approx(expected, abs=1e-9)

"""Distances between magnitude spectra, in float64, one value per item; 0 for equal spectra, lower is better.

Magnitudes are |STFT| with a periodic Hann window, centred frames and zero padding, divided by the window's
sum: a sine of amplitude 1 has magnitude 0.5. They are clamped to MAGNITUDE_FLOOR (-100 dB), so that silence
has a defined value.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qsep.separation.signal.stft import hann_stft

from .sdr import float64_pair

MAGNITUDE_FLOOR = 1e-5
RESOLUTIONS = ((512, 128), (1024, 256), (2048, 512))  # window and hop in samples


def log_spectral_distance_db(
    estimate: Any, reference: Any, window_samples: int = 2048, hop_samples: int = 512
) -> Tensor:
    """Log-spectral distance: root mean square over bins of 20 log10(|E| / |R|), then the mean over frames.

    estimate, reference: arrays or tensors (..., t), same shape. Returns (...), dB.
    Gray & Markel 1976, "Distance measures for speech processing".
    """
    estimate, reference = float64_pair(estimate, reference)
    ratio = log_magnitude(estimate, window_samples, hop_samples) - log_magnitude(
        reference, window_samples, hop_samples
    )
    in_db = 20 * ratio / torch.log(torch.tensor(10.0, dtype=torch.float64))
    return in_db.square().mean(dim=-2).sqrt().mean(dim=-1)


def multi_resolution_distance(estimate: Any, reference: Any) -> Tensor:
    """Mean over RESOLUTIONS of spectral convergence plus the mean of |ln |E| - ln |R||.

    Spectral convergence is the norm of |R| - |E| divided by the norm of |R|, over the item's whole spectrum.
    estimate, reference: arrays or tensors (..., t), same shape. Returns (...), without unit.
    Yamamoto et al. 2020, "Parallel WaveGAN", eqs. 4 to 6, with other resolutions.
    """
    estimate, reference = float64_pair(estimate, reference)
    terms = []
    for window_samples, hop_samples in RESOLUTIONS:
        log_estimate = log_magnitude(estimate, window_samples, hop_samples)
        log_reference = log_magnitude(reference, window_samples, hop_samples)
        mag = log_reference.exp()
        convergence = norm(mag - log_estimate.exp()) / norm(mag)
        terms.append(convergence + (log_estimate - log_reference).abs().mean(dim=(-2, -1)))
    return torch.stack(terms).mean(dim=0)


def log_magnitude(waveform: Tensor, window_samples: int, hop_samples: int) -> Tensor:
    """Natural logarithm of the magnitudes, (..., t) to (..., f, n), at least ln MAGNITUDE_FLOOR."""
    spec = hann_stft(waveform, window_samples, hop_samples)
    # A Hann window sums to half its length.
    return (spec.abs() / (window_samples / 2)).clamp_min(MAGNITUDE_FLOOR).log()


def norm(mag: Tensor) -> Tensor:
    """Euclidean norm of spectra (..., f, n): (...)."""
    return mag.square().sum(dim=(-2, -1)).sqrt()

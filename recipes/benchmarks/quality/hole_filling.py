"""What a generated estimate adds in the holes of a masked one, against noise of the same spectrum there."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from qsep.evaluation.metrics.spectral_holes import (
    HOP_SAMPLES,
    WINDOW_SAMPLES,
    power,
    spectral_holes,
)
from qsep.separation.signal.stft import hann_istft, hann_stft

LEVEL_BINS = 5  # and as many frames, over which the noise has the level of what it replaces
MAX_DEPTH_DB = 60.0  # deeper holes count as this deep


def with_filled_holes(
    masked: Any, generated: Any, target: Any, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The masked estimate with its holes filled from the generated one, and with noise in its place.

    masked, generated, target: (t,). Holes as of `spectral_holes`; outside them both results, (t,) float64,
    have the masked estimate's spectrum. The noise is white noise with the mean power that the generated
    estimate has in the hole's bins among the LEVEL_BINS by LEVEL_BINS around.
    """
    holes, _ = spectral_holes(masked, target)
    masked_spec, generated_spec = spectrum(masked), spectrum(generated)
    white = torch.randn(len(masked), generator=generator, dtype=torch.float64)
    level = mean_around(generated_spec.abs().square(), holes)
    noise_spec = spectrum(white) / window_energy() ** 0.5 * level.sqrt()
    with_generated, with_noise = (
        hann_istft(
            torch.where(holes, filling, masked_spec), WINDOW_SAMPLES, HOP_SAMPLES, len(masked)
        )
        for filling in (generated_spec, noise_spec)
    )
    return with_generated, with_noise


def hole_distance_db(estimate: Any, masked: Any, target: Any) -> float:
    """Log-spectral distance of an estimate (t,) to the target in the holes of the masked one: root mean
    square of 10 log10(|E|^2 / |T|^2) over the bins, in dB; 0 without holes."""
    holes, _ = spectral_holes(masked, target)
    if not holes.any():
        return 0.0
    target_power = power(torch.as_tensor(target).double())[holes]
    estimated_power = power(torch.as_tensor(estimate).double())[holes]
    ratio_db = 10 * (estimated_power / target_power).clamp_min(10 ** (-MAX_DEPTH_DB / 10)).log10()
    return float(ratio_db.square().mean().sqrt())


def spectrum(waveform: Any) -> Tensor:
    """(t,) to (f, n), complex, as of `spectral_holes`."""
    return hann_stft(torch.as_tensor(waveform).double(), WINDOW_SAMPLES, HOP_SAMPLES)


def window_energy() -> float:
    """Mean power of a bin for white noise of variance 1: the sum of the window's squares."""
    return float(torch.hann_window(WINDOW_SAMPLES, dtype=torch.float64).square().sum())


def mean_around(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean of the chosen values among those around each: (f, n) and bool (f, n) to (f, n); 0 without any."""
    planes = torch.stack([values * chosen, chosen.to(values)])
    total, count = F.avg_pool2d(planes[:, None], LEVEL_BINS, 1, LEVEL_BINS // 2)[:, 0]
    return torch.where(count > 0, total / count.clamp_min(1e-12), 0)

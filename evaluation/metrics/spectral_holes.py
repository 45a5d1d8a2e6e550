"""Spectral holes: bins in which the target is audible and the estimate nearly silent, as masks leave them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from qsep.separation.signal.stft import hann_stft

from .sdr import float64_pair

WINDOW_SAMPLES, HOP_SAMPLES = 1024, 256
AUDIBLE_DB = -40.0  # relative to the target's loudest bin
DEPTH_DB = -10.0  # of the estimate relative to the target


def spectral_hole_share(estimate: Any, target: Any) -> Tensor:
    """Share, in [0, 1], of the target's audible bins that are holes.

    estimate, target: arrays or tensors (..., t), same shape. Returns (...); 0 for a silent target.
    """
    holes, audible = spectral_holes(estimate, target)
    return holes.sum(dim=(-2, -1)) / audible.sum(dim=(-2, -1)).clamp_min(1)


def spectral_holes(estimate: Any, target: Any) -> tuple[Tensor, Tensor]:
    """The audible bins in which the estimate has under a tenth of the target's energy, and all audible bins:
    those down to 40 dB below the target's loudest.

    estimate, target: arrays or tensors (..., t), same shape. Returns bool (..., f, n) each, of frames of
    1024 samples with a Hann window, hop 256.
    """
    estimate, target = float64_pair(estimate, target)
    estimated_power, target_power = power(estimate), power(target)
    loudest = target_power.amax(dim=(-2, -1), keepdim=True)
    audible = (target_power > loudest * 10 ** (AUDIBLE_DB / 10)) & (target_power > 0)
    return audible & (estimated_power < target_power * 10 ** (DEPTH_DB / 10)), audible


def power(waveform: Tensor) -> Tensor:
    """Power spectrum, (..., t) to (..., f, n)."""
    return hann_stft(waveform, WINDOW_SAMPLES, HOP_SAMPLES).abs().square()

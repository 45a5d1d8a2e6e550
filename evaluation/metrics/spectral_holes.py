"""Holes: where a sound is audible and its estimate lacks it, as masks leave them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from qsep.separation.signal.stft import hann_stft

from .sdr import float64_pair

WINDOW_SAMPLES, HOP_SAMPLES = 1024, 256
AUDIBLE_DB = -40.0  # under the target's loudest bin
DEPTH_DB = -10.0  # of an estimate under its target


def spectral_hole_share(estimate: Any, target: Any) -> Tensor:
    """Share, 0 to 1, of the target's audible time-frequency bins in which the estimate has less than a tenth
    of its energy.

    estimate, target: arrays or tensors (..., t), same shape. Returns (...); 0 for a silent target. A bin is
    audible down to 40 dB under the loudest; frames of 1024 samples under a Hann window, every 256.
    """
    estimate, target = float64_pair(estimate, target)
    found, wanted = power(estimate), power(target)
    loudest = wanted.amax(dim=(-2, -1), keepdim=True)
    audible = (wanted > loudest * 10 ** (AUDIBLE_DB / 10)) & (wanted > 0)
    holes = audible & (found < wanted * 10 ** (DEPTH_DB / 10))
    return holes.sum(dim=(-2, -1)) / audible.sum(dim=(-2, -1)).clamp_min(1)


def power(waveform: Tensor) -> Tensor:
    """(..., t) to (..., f, n)."""
    return hann_stft(waveform, WINDOW_SAMPLES, HOP_SAMPLES).abs().square()

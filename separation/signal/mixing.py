"""Levels and mixing at a given signal-to-noise ratio."""

import torch
from torch import Tensor


def power(waveform: Tensor) -> Tensor:
    """Mean square over channels and samples: (..., c, t) to (...)."""
    return waveform.square().mean(dim=(-2, -1))


def gain_for_snr(target: Tensor, interferer: Tensor, snr_db: Tensor | float) -> Tensor:
    """Gain of the interferer so that power(target) / power(gain * interferer) is snr_db.

    target, interferer: (..., c, t); snr_db: (...) or a number. A silent interferer gets gain 0.
    """
    wanted = power(target) / 10 ** (torch.as_tensor(snr_db) / 10)
    have = power(interferer)
    return torch.where(have > 0, (wanted / have.clamp_min(1e-20)).sqrt(), torch.zeros_like(have))

"""Power, and gains for mixing at a given signal-to-noise ratio."""

import torch
from torch import Tensor


def power(waveform: Tensor) -> Tensor:
    """Mean square over channels and samples: (..., c, t) to (...)."""
    return waveform.square().mean(dim=(-2, -1))


def gain_for_snr(target: Tensor, interferer: Tensor, snr_db: Tensor | float) -> Tensor:
    """Gain of the interferer by which power(target) / power(gain * interferer) becomes snr_db, in dB.

    target, interferer: (..., c, t); snr_db: (...) or a number; returns (...). A silent interferer gets
    gain 0.
    """
    required_power = power(target) / 10 ** (torch.as_tensor(snr_db) / 10)
    interferer_power = power(interferer)
    gain = (required_power / interferer_power.clamp_min(1e-20)).sqrt()
    return torch.where(interferer_power > 0, gain, 0)

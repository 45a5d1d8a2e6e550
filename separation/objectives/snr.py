"""Signal-to-noise ratios as losses, one of which is defined for silent targets too."""

import torch
from torch import Tensor

FLOOR_DB = 30.0  # beyond this an item is good enough, and its gradient vanishes


def thresholded_snr_loss(
    error_energy: Tensor, target_energy: Tensor, mixture_energy: Tensor, floor_db: float = FLOOR_DB
) -> Tensor:
    """Negative SNR in dB with a soft limit at floor_db; all energies (...), non-negative; returns (...)
    in [-floor_db, inf).

    For a present source 10 log10(error / target + tau), tau = 10^(-floor_db / 10). For an absent one
    (target energy exactly 0) the mixture's energy takes the target's place: the loss is then the level
    of the leakage relative to the mixture. Wisdom et al., "What's all the FUSS about free universal
    sound separation data?" (2021), eq. 1-2.
    """
    reference = torch.where(target_energy > 0, target_energy, mixture_energy).clamp_min(1e-8)
    tau = 10 ** (-floor_db / 10)
    return 10 * torch.log10(error_energy / reference + tau)


def thresholded_waveform_loss(
    estimate: Tensor, target: Tensor, mixture: Tensor, floor_db: float = FLOOR_DB
) -> Tensor:
    """`thresholded_snr_loss` of waveforms (..., c, t), with energies over channels and samples: (...)."""
    error_energy, target_energy, mixture_energy = (
        waveform.square().sum(dim=(-2, -1)) for waveform in (estimate - target, target, mixture)
    )
    return thresholded_snr_loss(error_energy, target_energy, mixture_energy, floor_db)


EPSILON = torch.finfo(torch.float32).eps  # added to energies, as in torchmetrics


def negative_snr(estimate: Tensor, target: Tensor) -> Tensor:
    """Minus the signal-to-noise ratio in dB over all channels: (..., c, t) each to (...)."""
    error = (target - estimate).square().sum(dim=(-2, -1))
    energy = target.square().sum(dim=(-2, -1))
    return 10 * torch.log10((error + EPSILON) / (energy + EPSILON))


def negative_si_snr(estimate: Tensor, target: Tensor) -> Tensor:
    """Minus the scale-invariant signal-to-noise ratio in dB, of signals without their means:
    (..., c, t) each to (...).

    Le Roux et al., "SDR - half-baked or well done?" (2019), eq. 3.
    """
    estimate = estimate - estimate.mean(dim=-1, keepdim=True)
    target = target - target.mean(dim=-1, keepdim=True)
    energy = target.square().sum(dim=(-2, -1), keepdim=True)
    scale = ((estimate * target).sum(dim=(-2, -1), keepdim=True) + EPSILON) / (energy + EPSILON)
    return negative_snr(estimate, scale * target)

"""Signal-to-noise ratio as a loss that also knows silence."""

import torch
from torch import Tensor

FLOOR_DB = 30.0  # beyond this an item is good enough: gradients go to the others


def thresholded_snr_loss(
    error_energy: Tensor, target_energy: Tensor, mixture_energy: Tensor, floor_db: float = FLOOR_DB
) -> Tensor:
    """Negative SNR in dB, soft-limited at floor_db; all energies (...), non-negative.

    For a present source 10 log10((error + tau target) / target); for an absent one (target energy
    exactly 0) the same with the mixture in the target's place, so that its error is the level of
    what leaks, under the mixture. tau = 10^(-floor_db / 10).
    Wisdom et al., "What's all the FUSS about free universal sound separation data?" (2021), eq. 1-2.
    Returns (...), in [-floor_db, inf).
    """
    reference = torch.where(target_energy > 0, target_energy, mixture_energy).clamp_min(1e-8)
    tau = 10 ** (-floor_db / 10)
    return 10 * torch.log10(error_energy / reference + tau)


EPSILON = torch.finfo(torch.float32).eps  # of energies, as torchmetrics has it


def negative_snr(estimate: Tensor, target: Tensor) -> Tensor:
    """(..., c, t) to (...): minus the signal-to-noise ratio in dB, over all channels."""
    error = (target - estimate).square().sum(dim=(-2, -1))
    energy = target.square().sum(dim=(-2, -1))
    return 10 * torch.log10((error + EPSILON) / (energy + EPSILON))


def negative_si_snr(estimate: Tensor, target: Tensor) -> Tensor:
    """(..., c, t) to (...): the same of signals without their means, the target at the scale that fits best.

    Le Roux et al., "SDR - half-baked or well done?" (2019).
    """
    estimate = estimate - estimate.mean(dim=-1, keepdim=True)
    target = target - target.mean(dim=-1, keepdim=True)
    energy = target.square().sum(dim=(-2, -1), keepdim=True)
    scale = ((estimate * target).sum(dim=(-2, -1), keepdim=True) + EPSILON) / (energy + EPSILON)
    return negative_snr(estimate, scale * target)

"""Noise-invariant training: queried masks may share what they cannot explain with noise masks.

In videos from the wild a "source" holds more than its query names. Each source's ideal mask is compared
with the union of its queried mask and one of j noise masks; which one is chosen per mixture, as in
permutation-invariant training. Since noise masks could explain everything, their activity is bounded.
Dong et al., "CLIPSep" (2023), sec. 4.
"""

from __future__ import annotations

import torch
from torch import Tensor

from qsep.queries.settings import configuration

from .mask_bce import logit_bce, mask_bce
from .permutation_invariant import permutation_invariant


@configuration
class NoiseConfig:
    """num_heads: noise masks; with fewer than sources, some sources do without.

    gamma: mean of the summed noise masks that is free; weight: price of what exceeds it. gamma goes
    linearly from gamma_start to gamma over gamma_steps. For the first warmup_steps there are no noise
    masks. margin_weight, margin: the first regulariser of the authors' code, off there: a noise mask
    alone has to be worse than the union by the margin. keep_noise: unite noise masks with the queried
    mask at use too.
    """

    num_heads: int = 2
    gamma: float = 0.25
    gamma_start: float = 0.25
    gamma_steps: int = 0
    weight: float = 0.1
    warmup_steps: int = 0
    margin_weight: float = 0.0
    margin: float = 0.1
    keep_noise: bool = False

    def __post_init__(self) -> None:
        if self.num_heads < 1:
            raise ValueError(f"noise.num_heads is {self.num_heads}; expected 1 or more")


def union(mask: Tensor, noise_mask: Tensor) -> Tensor:
    """min(1, sum) of masks in [0, 1]; no gradient where the sum exceeds 1."""
    return 1 - torch.relu(1 - (mask + noise_mask))


def gamma_at(step: Tensor, config: NoiseConfig) -> Tensor | float:
    """The free activity at a training step, a number in a tensor."""
    done = (step / config.gamma_steps).clamp(max=1) if config.gamma_steps else 1.0
    return config.gamma_start + (config.gamma - config.gamma_start) * done


def noise_activity(noise_logits: Tensor) -> Tensor:
    """Mean over bins of the sum of the noise masks: (b, j, k, n) to (b,), in [0, j]."""
    return noise_logits.float().sigmoid().sum(dim=1).mean(dim=(-2, -1))


def noise_excess(noise_logits: Tensor, gamma: Tensor | float) -> Tensor:
    """What of the activity is not free, per item: (b,). (The authors take it of the batch's mean.)"""
    return torch.relu(noise_activity(noise_logits) - gamma)


def noise_invariant(
    logits: Tensor,
    noise_logits: Tensor,
    target: Tensor,
    weight: Tensor,
    queried: Tensor,
    config: NoiseConfig,
) -> Tensor:
    """Costs (b, s) of sources in the best pairing with noise masks, without the bound on activity.

    logits, target: (b, s, k, n); noise_logits: (b, j, k, n); weight: (b, k, n); queried: (b, s) bool.
    Sources that are not queried cost nothing, and leave the noise masks to the others.
    """
    mask, noise_mask = logits.float().sigmoid()[:, :, None], noise_logits.float().sigmoid()[:, None]
    num_sources, num_heads = mask.shape[1], noise_mask.shape[2]
    shape = (-1, num_sources, num_heads, *mask.shape[-2:])
    target, weight = target[:, :, None].expand(shape), weight[:, None, None]
    costs = mask_bce(union(mask, noise_mask), target, weight)
    if config.margin_weight:
        alone = logit_bce(noise_logits[:, None].expand(shape), target, weight)
        costs = costs + config.margin_weight * torch.relu(costs - alone + config.margin)
    if num_sources > num_heads:  # as many as are short go without
        without = logit_bce(logits, target[:, :, 0], weight[:, 0])
        short = num_sources - num_heads
        costs = torch.cat([costs, without[..., None].expand(-1, -1, short)], dim=2)
    return permutation_invariant(torch.where(queried[..., None], costs, 0))[0]

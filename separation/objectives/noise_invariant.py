"""Noise-invariant training (Dong et al., "CLIPSep", 2023, sec. 4): noise masks for what no query
explains.

In videos from the wild a "source" contains more than its query names. So each source's ideal mask is
compared with the union of its queried mask and one of j noise masks; which one is chosen for each
mixture, as in permutation-invariant training. Noise masks alone could explain everything, so their
activity is penalised.
"""

from __future__ import annotations

import torch
from torch import Tensor

from qsep.queries.settings import configuration

from .mask_bce import logit_bce, mask_bce
from .permutation_invariant import permutation_invariant


@configuration
class NoiseConfig:
    """num_heads: number of noise masks; if there are fewer than sources, some sources get none.

    gamma: mean activity of the summed noise masks that costs nothing; weight: penalty on more. gamma
    goes linearly from gamma_start to gamma over gamma_steps. There are no noise masks in the first
    warmup_steps. margin_weight, margin: the first regulariser of the authors' code, where it is off: a
    noise mask alone has to be worse than the union by the margin. batch_penalty: compare the batch's mean
    activity with gamma, as the authors' code does, instead of each item's, as the paper has it. keep_noise:
    unite noise masks with the queried mask at use too.
    """

    num_heads: int = 2
    gamma: float = 0.25
    gamma_start: float = 0.25
    gamma_steps: int = 0
    weight: float = 0.1
    warmup_steps: int = 0
    margin_weight: float = 0.0
    margin: float = 0.1
    batch_penalty: bool = False
    keep_noise: bool = False

    def __post_init__(self) -> None:
        if self.num_heads < 1:
            raise ValueError(f"noise.num_heads is {self.num_heads}; expected 1 or more")


def union(mask: Tensor, noise_mask: Tensor) -> Tensor:
    """Union of masks in [0, 1], min(1, sum); no gradient where the sum exceeds 1."""
    return 1 - torch.relu(1 - (mask + noise_mask))


def gamma_at(step: Tensor, config: NoiseConfig) -> Tensor | float:
    """The activity that costs nothing at a training step, a tensor ()."""
    progress = (step / config.gamma_steps).clamp(max=1) if config.gamma_steps else 1.0
    return config.gamma_start + (config.gamma - config.gamma_start) * progress


def noise_activity(noise_logits: Tensor) -> Tensor:
    """Mean over bins of the sum of the noise masks: logits (b, j, k, n) to (b,), in [0, j]."""
    return noise_logits.float().sigmoid().sum(dim=1).mean(dim=(-2, -1))


def noise_excess(
    noise_logits: Tensor, gamma: Tensor | float, batch_penalty: bool = False
) -> Tensor:
    """Activity beyond gamma, (b,): of each item, or with batch_penalty of the batch's mean, the same for all.

    The first pushes every item above gamma down, whatever the others are; the second pushes all items, those
    below gamma too, once their mean is above it.
    """
    activity = noise_activity(noise_logits)
    if batch_penalty:
        activity = activity.mean(dim=0, keepdim=True).expand_as(activity)
    return torch.relu(activity - gamma)


def noise_invariant(
    logits: Tensor,
    noise_logits: Tensor,
    target: Tensor,
    weight: Tensor,
    queried: Tensor,
    config: NoiseConfig,
) -> Tensor:
    """Costs (b, s) of the sources in their best pairing with noise masks, without the penalty on
    activity.

    logits, target: (b, s, k, n); noise_logits: (b, j, k, n); weight: (b, k, n); queried: (b, s) bool.
    Sources that are not queried cost nothing, and leave the noise masks to the others.
    """
    mask, noise_mask = logits.float().sigmoid()[:, :, None], noise_logits.float().sigmoid()[:, None]
    num_sources, num_heads = mask.shape[1], noise_mask.shape[2]
    shape = (-1, num_sources, num_heads, *mask.shape[-2:])
    target, weight = target[:, :, None].expand(shape), weight[:, None, None]
    costs = mask_bce(union(mask, noise_mask), target, weight)
    if config.margin_weight:
        noise_only = logit_bce(noise_logits[:, None].expand(shape), target, weight)
        costs = costs + config.margin_weight * torch.relu(costs - noise_only + config.margin)
    if num_sources > num_heads:  # the sources in excess get no noise mask
        without = logit_bce(logits, target[:, :, 0], weight[:, 0])
        num_excess = num_sources - num_heads
        costs = torch.cat([costs, without[..., None].expand(-1, -1, num_excess)], dim=2)
    return permutation_invariant(torch.where(queried[..., None], costs, 0))[0]

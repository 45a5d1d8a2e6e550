"""The level up to now: an exponential mean whose weights sum to one from the first frame on."""

from __future__ import annotations

import torch
from torch import Tensor


def running_level(
    power: Tensor, decay: float, state: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """power: (..., n), non-negative, of the next frames. Returns the mean up to each, and the state.

    Mean of frame m: sum of decay^(m - i) power_i over the sum of decay^(m - i), i from 0 to m, as Adam
    has its averages (Kingma and Ba 2015, sec. 3). state: both sums, (..., 1).
    """
    if state is None:
        total, weight = torch.zeros_like(power[..., :1]), torch.zeros_like(power[..., :1])
    else:
        total, weight = state
    means = []
    for frame in power.split(1, dim=-1):
        total, weight = decay * total + frame, decay * weight + 1
        means.append(total / weight)
    if not means:
        return power, (total, weight)
    return torch.cat(means, dim=-1), (total, weight)

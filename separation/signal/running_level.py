"""A causal running level: an exponential mean without bias at the start."""

from __future__ import annotations

import torch
from torch import Tensor


def running_level(
    power: Tensor, decay: float, state: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Exponential mean of power (..., n), non-negative, up to each frame; returns it and the state for
    the next frames.

    Mean of frame m: sum of decay^(m - i) power_i over the sum of decay^(m - i), i from 0 to m, the bias
    correction of Adam (Kingma and Ba 2015, sec. 3). state: both sums, (..., 1) each; None at the start.
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

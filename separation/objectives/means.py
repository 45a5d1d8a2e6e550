"""Means over the sources of each mixture that count, for losses and their reported terms."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_of_queried(values: Tensor, queried: Tensor) -> Tensor:
    """Mean over the queried sources, 0 if there are none: values (b, s, ...), queried (b, s) bool to
    (b, ...)."""
    chosen = queried.reshape(*queried.shape, *[1] * (values.dim() - 2))
    return torch.where(chosen, values, 0).sum(dim=1) / chosen.sum(dim=1).clamp_min(1)


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean over the sources, 0 if nothing has a weight: values, weight (b, s) to (b,)."""
    # 1e-9: a mixture of which nothing is queried has nothing to learn from, not 0 / 0
    return (weight * values).sum(dim=1) / weight.sum(dim=1).clamp_min(1e-9)


def mean_where(values: Tensor, selected: Tensor) -> Tensor:
    """Mean over the selected entries of each row, nan if there are none: values (b, s), selected (b, s)
    bool to (b,)."""
    return torch.where(selected, values, 0).sum(dim=1) / selected.sum(dim=1)

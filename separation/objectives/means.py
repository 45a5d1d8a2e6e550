"""Means over the sources of each mixture that count, for losses and their reported terms."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_of_queried(values: Tensor, queried: Tensor) -> Tensor:
    """Mean over the sources that are queried, 0 where none is: (b, s, ...), (b, s) bool to (b, ...)."""
    chosen = queried.reshape(*queried.shape, *[1] * (values.dim() - 2))
    return torch.where(chosen, values, 0).sum(dim=1) / chosen.sum(dim=1).clamp_min(1)


def mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean over dim 1 of the chosen entries; nan where a row has none. (b, s) to (b,)."""
    return torch.where(chosen, values, 0).sum(dim=1) / chosen.sum(dim=1)

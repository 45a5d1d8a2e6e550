"""Products of complex spectra, by real numbers: shapes (...) broadcast."""

from __future__ import annotations

import torch
from torch import Tensor


def squared_magnitude(spec: Tensor) -> Tensor:
    """|X|^2, without the square root that abs() takes."""
    return torch.view_as_real(spec).square().sum(dim=-1)


def real_product(first: Tensor, second: Tensor) -> Tensor:
    """Re(X* Y)."""
    return (torch.view_as_real(first) * torch.view_as_real(second)).sum(dim=-1)

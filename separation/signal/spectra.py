"""Products and magnitudes of complex spectra; shapes (...) broadcast."""

from __future__ import annotations

import torch
from torch import Tensor


def squared_magnitude(spec: Tensor) -> Tensor:
    """|X|^2 of a complex tensor, without the square root of abs()."""
    return torch.view_as_real(spec).square().sum(dim=-1)


def real_product(first: Tensor, second: Tensor) -> Tensor:
    """Re(X* Y) of two complex tensors."""
    return (torch.view_as_real(first) * torch.view_as_real(second)).sum(dim=-1)


def rms_magnitude(spec: Tensor) -> Tensor:
    """Root mean square magnitude over channels: (..., c, f, n) to (..., f, n)."""
    return torch.linalg.vector_norm(spec.abs(), dim=-3) * spec.shape[-3] ** -0.5

"""Negative log-likelihood under a Laplace distribution with a learned scale.

The reconstruction loss of latent diffusion's autoencoders (Rombach et al. 2022, appendix G), where
log_scale is called "logvar".
"""

from __future__ import annotations

from torch import Tensor


def laplace_loss(data: Tensor, reconstruction: Tensor, log_scale: Tensor) -> Tensor:
    """|data - reconstruction| / exp(log_scale) + log_scale, summed over all but the batch, (b,).

    data, reconstruction: (b, …); log_scale: (). The negative log-likelihood up to log 2 for each
    element; smallest where exp(log_scale) is the mean absolute error.
    """
    errors = (data - reconstruction).abs()
    return (errors / log_scale.exp() + log_scale).flatten(1).sum(dim=1)

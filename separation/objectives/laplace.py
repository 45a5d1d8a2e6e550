"""How unlikely data are under Laplace distributions around their reconstruction, of a width to be learned.

The reconstruction loss of latent diffusion's autoencoders (Rombach et al. 2022, appendix G), who call
log_scale "logvar".
"""

from __future__ import annotations

from torch import Tensor


def laplace_loss(data: Tensor, reconstruction: Tensor, log_scale: Tensor) -> Tensor:
    """(b,): |data - reconstruction| / exp(log_scale) + log_scale, summed over all else.

    data, reconstruction: (b, …); log_scale: (). The negative log-likelihood but for log 2 an element; least
    where exp(log_scale) is the mean absolute error.
    """
    errors = (data - reconstruction).abs()
    return (errors / log_scale.exp() + log_scale).flatten(1).sum(dim=1)

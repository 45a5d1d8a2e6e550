"""Adversarial losses, one value per item: of a discriminator, and of what it judges.

real, made: (b, m), a discriminator's scores of m parts of b items. Hinge: Lim & Ye, "Geometric GAN" (2017);
least squares: Mao et al. (2017). Neither saturates where the discriminator is sure.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_WEIGHT = 1e4
EPSILON = 1e-4  # keeps the weight finite where the adversarial loss has no gradient


def hinge_discriminator(real: Tensor, made: Tensor) -> Tensor:
    """(b,): half of what real scores lack to 1 and made ones to -1; 0 where all are beyond."""
    return 0.5 * (F.relu(1 - real) + F.relu(1 + made)).mean(dim=1)


def hinge_made(made: Tensor) -> Tensor:
    """(b,): the less, the more real the discriminator takes what was made for."""
    return -made.mean(dim=1)


def least_squares_discriminator(real: Tensor, made: Tensor) -> Tensor:
    """(b,): real scores are to be 1, made ones 0."""
    return ((real - 1).square() + made.square()).mean(dim=1)


def least_squares_made(made: Tensor) -> Tensor:
    """(b,): made scores are to be 1."""
    return (made - 1).square().mean(dim=1)


def feature_distance(real: Sequence[Tensor], made: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of each layer's features (b, …), summed over layers: (b,).

    Features of a discriminator. Larsen et al. (2016); Kumar et al., "MelGAN" (2019), eq. 4.
    """
    layers = [(a - b).abs().flatten(1).mean(dim=1) for a, b in zip(real, made, strict=True)]
    return torch.stack(layers).sum(dim=0)


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, last_layer: Tensor) -> Tensor:
    """Weight of the adversarial loss by which both losses have gradients of one norm at `last_layer`: (), at
    most MAX_WEIGHT, without gradient. Esser et al., "Taming transformers" (2021), eq. 7; Rombach et al.
    (2022), appendix G.

    reconstruction, adversarial: () each, whose graphs stay for the backward pass to come.
    """
    pulls = [
        torch.autograd.grad(loss, last_layer, retain_graph=True)[0].norm()
        for loss in (reconstruction, adversarial)
    ]
    return (pulls[0] / (pulls[1] + EPSILON)).clamp(max=MAX_WEIGHT).detach()

"""Adversarial losses for a discriminator and for the network it judges, one value per item.

real, generated: scores (b, m) of m parts of b real and b generated items. Hinge: Lim and Ye, "Geometric GAN"
(2017), least squares: Mao et al. (2017); unlike the original loss these do not saturate where the
discriminator is certain.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_WEIGHT = 1e4
EPSILON = 1e-4  # keeps the weight finite where the adversarial loss has no gradient


def hinge_discriminator(real: Tensor, generated: Tensor) -> Tensor:
    """Discriminator's hinge loss, (b,): half the mean of relu(1 - real) + relu(1 + generated)."""
    return 0.5 * (F.relu(1 - real) + F.relu(1 + generated)).mean(dim=1)


def hinge_generator(generated: Tensor) -> Tensor:
    """Generator's hinge loss, (b,): minus the mean score of its items."""
    return -generated.mean(dim=1)


def least_squares_discriminator(real: Tensor, generated: Tensor) -> Tensor:
    """Discriminator's least-squares loss, (b,): real scores should be 1, generated ones 0."""
    return ((real - 1).square() + generated.square()).mean(dim=1)


def least_squares_generator(generated: Tensor) -> Tensor:
    """Generator's least-squares loss, (b,): its scores should be 1."""
    return (generated - 1).square().mean(dim=1)


def feature_distance(real: Sequence[Tensor], generated: Sequence[Tensor]) -> Tensor:
    """Feature matching: mean absolute difference of each layer's features (b, …), summed over layers,
    (b,).

    Features of a discriminator. Larsen et al. (2016); Kumar et al., "MelGAN" (2019), eq. 4.
    """
    layers = [(a - b).abs().flatten(1).mean(dim=1) for a, b in zip(real, generated, strict=True)]
    return torch.stack(layers).sum(dim=0)


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, last_layer: Tensor) -> Tensor:
    """Weight of the adversarial loss, (), at which the gradients of both losses have the same norm at
    `last_layer`; at most MAX_WEIGHT, without gradient.

    Esser et al., "Taming transformers" (2021), eq. 7; Rombach et al. (2022), appendix G.
    reconstruction, adversarial: () each; their graphs are kept for the backward pass.
    """
    norms = [
        torch.autograd.grad(loss, last_layer, retain_graph=True)[0].norm()
        for loss in (reconstruction, adversarial)
    ]
    return (norms[0] / (norms[1] + EPSILON)).clamp(max=MAX_WEIGHT).detach()

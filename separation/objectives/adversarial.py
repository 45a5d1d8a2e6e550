"""What a discriminator and the network it judges want of the discriminator's scores; one value an item each.

real, made: (b, m), scores of m places in b items. Hinge: Lim & Ye, "Geometric GAN" (2017); least squares:
Mao et al. (2017). Neither saturates where the discriminator is sure.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


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

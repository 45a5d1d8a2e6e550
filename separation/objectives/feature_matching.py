"""What was made is to look to the discriminator, inside, like what is real.

Larsen et al. (2016); Kumar et al., "MelGAN" (2019), eq. 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def feature_distance(real: Sequence[Tensor], made: Sequence[Tensor]) -> Tensor:
    """(b,): the mean absolute difference of each layer's features (b, …), summed over layers."""
    layers = [(a - b).abs().flatten(1).mean(dim=1) for a, b in zip(real, made, strict=True)]
    return torch.stack(layers).sum(dim=0)

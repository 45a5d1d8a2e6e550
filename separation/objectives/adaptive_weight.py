"""How much a discriminator counts beside reconstruction: so that both pull as hard at the last layer.

Esser et al., "Taming transformers" (2021), eq. 7; Rombach et al. (2022), appendix G.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOST = 1e4
EPSILON = 1e-4


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, last_layer: Tensor) -> Tensor:
    """(), at most 1e4, without gradient: the ratio of both losses' gradients' norms at `last_layer`.

    reconstruction, adversarial: () each, whose graphs stay for the backward pass to come.
    """
    pulls = [
        torch.autograd.grad(loss, last_layer, retain_graph=True)[0].norm()
        for loss in (reconstruction, adversarial)
    ]
    return (pulls[0] / (pulls[1] + EPSILON)).clamp(max=MOST).detach()

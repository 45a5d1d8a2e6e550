"""Weight norm in training, and plain weights in checkpoints.

Salimans and Kingma (2016): direction and length of a kernel are learned separately, for each output
channel (of transposed convolutions for each input channel).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import is_parametrized

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d)


def weight_normed(network: nn.Module) -> nn.Module:
    """The network with weight norm on all of its convolutions, in place; its output does not change."""
    for module in list(network.modules()):
        if isinstance(module, CONVOLUTIONS):
            weight_norm(module)
    return network


def plain_state(network: nn.Module) -> dict[str, Tensor]:
    """The network's state dict as it would be without weight norm."""
    state = network.state_dict()
    plain = {key: value for key, value in state.items() if "parametrizations" not in key.split(".")}
    return plain | {key: module.weight.detach() for key, module in normed_weights(network)}


@torch.no_grad()  # sets weights
def load_plain(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Loads what `plain_state` returned, strictly. RuntimeError naming a weight that is missing or does
    not fit."""
    expected = plain_state(network)
    wrong = expected.keys() ^ weights.keys()
    wrong |= {key for key in expected.keys() - wrong if expected[key].shape != weights[key].shape}
    if wrong:
        raise RuntimeError(f"weights {min(wrong)} are missing or do not fit")
    normed = dict(normed_weights(network))
    for key, module in normed.items():
        module.weight = weights[key]
    rest = {key: value for key, value in weights.items() if key not in normed}
    network.load_state_dict(rest, strict=False)


def normed_weights(network: nn.Module) -> list[tuple[str, Any]]:
    """Modules with weight norm, each with the name its weight would have without."""
    return [
        (f"{name}.weight".removeprefix("."), module)
        for name, module in network.named_modules()
        if is_parametrized(module, "weight")
    ]

"""Weight norm while a network learns, and plain weights where it is kept.

Salimans & Kingma (2016): a kernel is learned as its direction and its length, each output channel's (of
transposed convolutions each input channel's) by itself.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import is_parametrized

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d)


def weight_normed(network: nn.Module) -> nn.Module:
    """The same network, all of its convolutions learned so; it computes what it did."""
    for module in list(network.modules()):
        if isinstance(module, CONVOLUTIONS):
            weight_norm(module)
    return network


def plain_state(network: nn.Module) -> dict[str, Tensor]:
    """The state of the same network without weight norm."""
    state = network.state_dict()
    plain = {key: value for key, value in state.items() if "parametrizations" not in key.split(".")}
    return plain | {key: module.weight.detach() for key, module in normed_weights(network)}


@torch.no_grad()  # sets weights
def load_plain(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """The inverse, strictly; RuntimeError where they do not fit."""
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
    """Names that weights would have without weight norm, each with its module."""
    return [
        (f"{name}.weight".removeprefix("."), module)
        for name, module in network.named_modules()
        if is_parametrized(module, "weight")
    ]

"""Settings that trade time against memory: compiled networks and activation checkpointing."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from qsep.separation.interface import Separator
from qsep.separation.runtime.accelerate import networks_of


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """The model's blocks, see Separator.blocks; none of parts that are not separators."""
    return model.blocks() if isinstance(model, Separator) else []


def checkpoint_activations(model: nn.Module) -> None:
    """Compute activations of the model's blocks again in the backward pass instead of storing them.

    Chen et al., "Training Deep Nets with Sublinear Memory Cost" (arXiv 1604.06174). Raises ValueError for a
    model without blocks.
    """
    blocks = blocks_of(model)
    if not blocks:
        raise ValueError(
            f"train.checkpoint_activations: {type(model).__name__} has no blocks that allow it"
        )
    for block in blocks:
        anew: Any = partial(checkpoint, block.forward, use_reentrant=False)
        block.forward = anew


def compile_networks(model: nn.Module, backend: str) -> None:
    """Compile the model's networks by torch.compile at their first use; ValueError if it has none."""
    networks = networks_of(model) or blocks_of(model)
    if not networks:
        raise ValueError(f"train.compile: {type(model).__name__} has no network that allows it")
    for network in networks:
        network.compile(backend=backend)

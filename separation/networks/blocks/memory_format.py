"""Memory layouts of weights."""

from __future__ import annotations

import torch
from torch import nn


def to_channels_last(module: nn.Module) -> None:
    """Store the weights of 2-D convolutions channels last, in place: faster on CPUs and GPUs."""
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not annotated in torch

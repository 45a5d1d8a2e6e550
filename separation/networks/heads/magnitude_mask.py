"""A real mask: the mixture's phase stays."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.settings import configuration


@configuration
class Config:
    """activation: "sigmoid", masks in [0, 1], or "relu", in [0, inf)."""

    activation: str = "sigmoid"

    def __post_init__(self) -> None:
        if self.activation not in ("sigmoid", "relu"):
            raise ValueError(f"activation is {self.activation!r}; expected 'sigmoid' or 'relu'")


def build(config: Config) -> MagnitudeMask:
    return MagnitudeMask(config.activation)


class MagnitudeMask(nn.Module):
    """See `composition.Head`. Carriers may be real: then it is a mask over learned filters."""

    num_maps = 1

    def __init__(self, activation: str) -> None:
        super().__init__()
        self.active = torch.sigmoid if activation == "sigmoid" else F.relu

    def forward(self, maps: Tensor, carrier: Tensor) -> Tensor:
        return self.active(maps[:, :, :, 0]) * carrier[:, None]

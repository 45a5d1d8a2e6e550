"""Real mask: keeps the mixture's phase."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.settings import configuration


@configuration
class Config:
    """activation: "sigmoid" for masks in [0, 1], or "relu" for [0, inf)."""

    activation: str = "sigmoid"

    def __post_init__(self) -> None:
        if self.activation not in ("sigmoid", "relu"):
            raise ValueError(f"activation is {self.activation!r}; expected 'sigmoid' or 'relu'")


def build(config: Config) -> MagnitudeMask:
    """The head with these settings."""
    return MagnitudeMask(config.activation)


class MagnitudeMask(nn.Module):
    """See `composition.Head`. With a real carrier it masks learned filters."""

    num_maps = 1

    def __init__(self, activation: str) -> None:
        super().__init__()
        self.active = torch.sigmoid if activation == "sigmoid" else F.relu

    def forward(self, maps: Tensor, carrier: Tensor) -> Tensor:
        """maps (b, o, c, 1, f, n), carrier (b, c, f, n) to (b, o, c, f, n)."""
        return self.active(maps[:, :, :, 0]) * carrier[:, None]

"""Feature-wise scale and shift of channels at each site of the backbone (FiLM: Perez et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding
from qsep.queries.settings import configuration


@configuration
class Config:
    """bottleneck: width of a layer that all sites share; 0 for none."""

    bottleneck: int = 0


def build(config: Config, query_dim: int, sites: tuple[int, ...], width: int) -> Film:
    """FiLM for a backbone with these sites."""
    return Film(config.bottleneck, query_dim, sites)


class Film(nn.Module):
    """(1 + scale) hidden + shift. The last layer starts at zero, so a pretrained backbone starts
    unchanged."""

    late = False

    def __init__(self, bottleneck: int, query_dim: int, sites: tuple[int, ...]) -> None:
        super().__init__()
        shared = [nn.Linear(query_dim, bottleneck), nn.SiLU()] if bottleneck else []
        self.shared = nn.Sequential(*shared)
        maps = [nn.Linear(bottleneck or query_dim, 2 * size) for size in sites]
        for linear in maps:
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
        self.maps = nn.ModuleList(maps)

    def inject(self, site: int, hidden: Tensor, query: QueryEmbedding) -> Tensor:
        """hidden (b, d, ...) and queries (b, ...) to (b, d, ...)."""
        scale, shift = self.maps[site](self.shared(query.pooled)).chunk(2, dim=-1)
        spread = (*scale.shape, *[1] * (hidden.dim() - 2))
        return torch.addcmul(shift.reshape(spread), hidden, 1 + scale.reshape(spread))

    def fuse(self, hidden: Tensor, query: QueryEmbedding) -> Tensor:
        """Never called, since `late` is False."""
        raise AssertionError("early")

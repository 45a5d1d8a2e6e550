"""Late fusion by an inner product: the mixture is analysed once for all queries
(Zhao et al. 2018, "synthesizer").

The readout that follows is linear in the channels, so each map is an inner product of the features with
a vector that depends on the query.
"""

from __future__ import annotations

from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding
from qsep.queries.settings import configuration


@configuration
class Config:
    """No settings."""


def build(config: Config, query_dim: int, sites: tuple[int, ...], width: int) -> Late:
    """Late fusion for a backbone whose output has `width` channels."""
    return Late(query_dim, width)


class Late(nn.Module):
    """The backbone's output channels times 1 + a linear map of the query."""

    late = True

    def __init__(self, query_dim: int, width: int) -> None:
        super().__init__()
        self.weights = nn.Linear(query_dim, width)
        nn.init.zeros_(self.weights.weight)
        nn.init.zeros_(self.weights.bias)

    def inject(self, site: int, hidden: Tensor, query: QueryEmbedding) -> Tensor:
        """Never called, since `late` is True."""
        raise AssertionError("late")

    def fuse(self, hidden: Tensor, query: QueryEmbedding) -> Tensor:
        """hidden (b, d, k, n) and queries (b, s, ...) to (b, s, d, k, n)."""
        return hidden[:, None] * (1 + self.weights(query.pooled))[..., None, None]

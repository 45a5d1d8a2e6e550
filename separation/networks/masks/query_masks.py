"""Masks as scaled inner products of features with query vectors.

Zhao et al., "The sound of pixels" (2018), "audio synthesizer network".
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding


class QueryMasks(nn.Module):
    """A learned scale for each feature, and one bias."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, features: Tensor, vectors: Tensor) -> Tensor:
        """features (b, d, k, n) and vectors (b, s, d) to mask logits (b, s, k, n), float32."""
        with torch.autocast(features.device.type, enabled=False):
            weights = vectors.float() * self.scale
            return torch.einsum("bsd,bdkn->bskn", weights, features.float()) + self.bias


def only_queried(queries: QueryEmbedding, queried: Tensor) -> QueryEmbedding:
    """The queries (b, s, ...) with zeros for the sources that are not queried; queried: (b, s) bool."""
    tokens = queries.tokens
    if tokens is not None:
        tokens = torch.where(queried[..., None, None], tokens, 0)
    pooled = torch.where(queried[..., None], queries.pooled, 0)
    return QueryEmbedding(pooled, tokens, queries.token_mask)


def scaled(queries: QueryEmbedding, factor: float) -> QueryEmbedding:
    """The queries with their vectors and tokens multiplied by a factor."""
    tokens = None if queries.tokens is None else factor * queries.tokens
    return QueryEmbedding(factor * queries.pooled, tokens, queries.token_mask)

"""Masks as scaled inner products of features with query vectors (Zhao et al. 2018, "synthesizer")."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding


class QueryMasks(nn.Module):
    """Features (b, d, k, n) and vectors (b, s, d) to mask logits (b, s, k, n)."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, features: Tensor, vectors: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            weights = vectors.float() * self.scale
            return torch.einsum("bsd,bdkn->bskn", weights, features.float()) + self.bias


def only_queried(queries: QueryEmbedding, queried: Tensor) -> QueryEmbedding:
    """Zeros in the rows that nobody asked for, whatever they held; queried: (b, s) bool."""
    tokens = queries.tokens
    if tokens is not None:
        tokens = torch.where(queried[..., None, None], tokens, 0)
    pooled = torch.where(queried[..., None], queries.pooled, 0)
    return QueryEmbedding(pooled, tokens, queries.token_mask)


def scaled(queries: QueryEmbedding, factor: float) -> QueryEmbedding:
    """Vectors and tokens times a factor."""
    tokens = None if queries.tokens is None else factor * queries.tokens
    return QueryEmbedding(factor * queries.pooled, tokens, queries.token_mask)

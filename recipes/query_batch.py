"""The queries of a batch of mixtures as one embedding."""

from __future__ import annotations

import torch
from torch import Tensor

from qsep.queries.interface import Query, QueryEmbedding, QueryEncoder


def encode_batch(encoder: QueryEncoder, queries: list[list[Query | None]]) -> QueryEmbedding:
    """b rows of s queries; every entry (b, s, ...), zero where nothing is asked."""
    asked = [query for row in queries for query in row if query is not None]
    chosen = torch.tensor([[query is not None for query in row] for row in queries])
    if not asked:
        return QueryEmbedding(torch.zeros(*chosen.shape, encoder.dim))
    found = encoder.encode(asked)

    def spread(values: Tensor) -> Tensor:
        result = values.new_zeros(*chosen.shape, *values.shape[1:])
        result[chosen] = values
        return result

    if found.tokens is None:
        return QueryEmbedding(spread(found.pooled))
    mask = None if found.token_mask is None else spread(found.token_mask)
    return QueryEmbedding(spread(found.pooled), spread(found.tokens), mask)

"""The queries of a batch of mixtures as one embedding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from qsep.queries.interface import Query, QueryEmbedding, QueryEncoder


class NoQueries(QueryEncoder):
    """In an encoder's place where what is trained is asked for nothing: embeddings of width 0."""

    config = None
    dim = 0
    modalities: frozenset[type] = frozenset()
    fingerprint = "none"

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        return QueryEmbedding(torch.zeros(len(queries), 0))


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

"""The queries of a batch of mixtures as one embedding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from qsep.queries.interface import Query, QueryEmbedding, QueryEncoder


class NoQueries(QueryEncoder):
    """The encoder of parts that are trained without queries: embeddings of width 0."""

    config = None
    dim = 0
    modalities: frozenset[type[Query]] = frozenset()
    fingerprint = "none"

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        """Embeddings with pooled (len(queries), 0)."""
        return QueryEmbedding(torch.zeros(len(queries), 0))


def encode_batch(encoder: QueryEncoder, queries: list[list[Query | None]]) -> QueryEmbedding:
    """Embeddings of b rows of s queries: every tensor is (b, s, ...), zero where a query is None."""
    present = [query for row in queries for query in row if query is not None]
    chosen = torch.tensor([[query is not None for query in row] for row in queries])
    if not present:
        return QueryEmbedding(torch.zeros(*chosen.shape, encoder.dim))
    embedding = encoder.encode(present)

    def spread(values: Tensor) -> Tensor:
        result = values.new_zeros(*chosen.shape, *values.shape[1:])
        result[chosen] = values
        return result

    if embedding.tokens is None:
        return QueryEmbedding(spread(embedding.pooled))
    mask = None if embedding.token_mask is None else spread(embedding.token_mask)
    return QueryEmbedding(spread(embedding.pooled), spread(embedding.tokens), mask)

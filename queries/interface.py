"""What is asked for: the kinds of query, and what an encoder makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class TextQuery:
    """A sound described in words, such as "a dog barking"."""

    text: str

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError(
                "the query is empty; say which sound to separate, e.g. 'a dog barking'"
            )


Query = TextQuery  # other modalities join this union as their encoders arrive


@dataclass(frozen=True)
class QueryEmbedding:
    """Queries as vectors. Leading dimensions are the caller's: (b,) or (b, s).

    pooled: (..., d), one vector a query, unit norm where the encoder says so.
    tokens: (..., k, d) or None, one vector a token.
    token_mask: (..., k) bool or None, True where a token is real.
    """

    pooled: Tensor
    tokens: Tensor | None = None
    token_mask: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> QueryEmbedding:
        """The same function of each entry that is there."""
        return QueryEmbedding(
            function(self.pooled),
            None if self.tokens is None else function(self.tokens),
            None if self.token_mask is None else function(self.token_mask),
        )

    def to(self, device: torch.device) -> QueryEmbedding:
        return self.map(lambda entry: entry.to(device))


class QueryEncoder(Protocol):
    """Turns queries into embeddings; frozen, deterministic, and identified by its fingerprint."""

    dim: int
    modalities: frozenset[type]
    fingerprint: str

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        """pooled: (len(queries), dim), float32, on the CPU."""
        ...

"""Labels of a closed list as one-hot vectors, for separators that learn an embedding table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from ..interface import Query, QueryEmbedding, QueryEncoder, TextQuery, check_readable, unreadable
from ..settings import configuration


@configuration
class Config:
    """labels: in the order of the separator's table, different also without regard to case."""

    labels: tuple[str, ...]


def build(config: Config) -> Labels:
    """See `Labels`."""
    return Labels(config)


class Labels(QueryEncoder):
    """Reads texts that equal a label in any case; others raise ValueError."""

    modalities: frozenset[type[Query]] = frozenset({TextQuery})

    def __init__(self, config: Config) -> None:
        self.config = config
        self.rows = {label.casefold().strip(): row for row, label in enumerate(config.labels)}
        if len(self.rows) != len(config.labels) or not config.labels:
            raise ValueError("labels: expected one label or more, each once")
        self.dim = len(config.labels)
        listed = json.dumps(config.labels).encode()
        self.fingerprint = f"labels-{hashlib.sha256(listed).hexdigest()[:16]}"

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        """As `QueryEncoder.encode`; pooled is one-hot, (len(queries), number of labels)."""
        check_readable(self, queries)
        import torch

        pooled = torch.zeros(len(queries), self.dim)
        for index, query in enumerate(queries):
            if not isinstance(query, TextQuery):
                raise unreadable(self, query)
            row = self.rows.get(query.text.casefold().strip())
            if row is None:
                known = ", ".join(self.config.labels[:8]) + (" …" if self.dim > 8 else "")
                raise ValueError(
                    f"{query.text!r} is not one of this model's {self.dim} labels: {known}"
                )
            pooled[index, row] = 1
        return QueryEmbedding(pooled)

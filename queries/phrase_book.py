"""Queries as degrees over sound classes: what a separator with a closed list of classes is asked by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from .interface import ClassQuery, Query, QueryEmbedding, unreadable


@dataclass(frozen=True)
class Config:
    """classes: their names, in the order of the separator's classes; "other" follows them unnamed."""

    classes: tuple[str, ...]


def build(config: Config) -> PhraseBook:
    return PhraseBook(config)


class PhraseBook:
    """pooled: (b, num_classes + 1), a degree in [0, 1] for each class and for "other"."""

    modalities: frozenset[type] = frozenset({ClassQuery})

    def __init__(self, config: Config) -> None:
        self.config = config
        self.rows = {name: row for row, name in enumerate(config.classes)}
        if len(self.rows) != len(config.classes) or not config.classes:
            raise ValueError("classes: expected one class or more, each once")
        self.dim = len(config.classes) + 1
        listed = json.dumps(config.classes).encode()
        self.fingerprint = f"phrase_book-{hashlib.sha256(listed).hexdigest()[:16]}"

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        import torch

        pooled = torch.zeros(len(queries), self.dim)
        for index, query in enumerate(queries):
            if not isinstance(query, ClassQuery):
                raise unreadable(self, query)
            for name, degree in query.degrees:
                if name not in self.rows:
                    raise ValueError(f"{name!r} is not one of the {len(self.rows)} classes")
                pooled[index, self.rows[name]] = degree
            pooled[index, -1] = query.other
            if query.complement:
                pooled[index] = 1 - pooled[index]
        return QueryEmbedding(pooled)

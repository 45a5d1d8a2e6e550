"""Example recordings as queries for separators that read words only, through their phrase book."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from qsep.queries.encoders.joint import Config, JointEncoder, build
from qsep.queries.interface import (
    AudioQuery,
    ClassQuery,
    MixedQuery,
    Plain,
    Query,
    QueryEmbedding,
    QueryEncoder,
    TextQuery,
    unreadable,
)

from ..interface import Separator


class DescribedExamples(QueryEncoder):
    """Reads words by the model's own encoder, and a recording as the phrases that describe it best.

    A joint encoder of text and sound places the recording among the phrases; attention over them, at
    the joint encoder's own temperature, gives a mean in the words' space. words: unit-norm embeddings
    of text, cached; phrases: (p, d), the model's book in the same space.
    """

    unit_norm = True

    def __init__(self, words: QueryEncoder, phrases: Tensor) -> None:
        self.words, self.phrases = words, phrases.float().cpu()
        self.config, self.dim, self.fingerprint = words.config, words.dim, words.fingerprint
        self.modalities = words.modalities | {AudioQuery}

    @cached_property
    def joint(self) -> JointEncoder:
        return build(Config())

    @cached_property
    def places(self) -> Tensor:
        """(p, dim of the joint space): where the phrases lie among sounds."""
        with torch.inference_mode():
            return self.joint.network.text(self.phrases)

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        if all(isinstance(query, TextQuery) for query in queries):
            return self.words.encode(queries)
        return QueryEmbedding(torch.stack([self.vector(query) for query in queries]))

    def vector(self, query: Query) -> Tensor:
        """(d,), unit norm."""
        if not isinstance(query, MixedQuery):
            return self.part(query)
        return query.mix(torch.stack([self.part(part) for part in query.parts]), self.unit_norm)

    def part(self, query: Plain | ClassQuery) -> Tensor:
        if type(query) not in self.modalities:
            raise unreadable(self, query)
        if not isinstance(query, AudioQuery):
            return self.words.encode([query]).pooled[0]
        with torch.inference_mode():
            similarity = self.places @ self.joint.vector(query)
            attention = (self.joint.network.scale() * similarity).softmax(dim=0)
            return F.normalize(attention @ self.phrases, dim=0).clone()


def with_examples(separator: Separator, words: QueryEncoder) -> QueryEncoder:
    """The encoder, able to read example recordings too where the separator has a phrase book for it."""
    book = separator.phrase_book
    if book is None or readable(words.modalities, has_book=True) == words.modalities:
        return words
    return DescribedExamples(words, book.phrases)


def readable(modalities: frozenset[type], has_book: bool) -> frozenset[type]:
    """The kinds of query that a model reads whose encoder reads these, with a phrase book or without."""
    return modalities | {AudioQuery} if has_book and modalities == {TextQuery} else modalities

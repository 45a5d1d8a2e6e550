"""Example recordings as queries for separators whose encoders read words only.

By the classes that the separator itself hears in the example, or through its phrase book.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

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
from qsep.queries.media import read_recording

from ..detection.class_sounds import shares_of
from ..interface import Separator

if TYPE_CHECKING:
    from qsep.queries.media import Media
    from qsep.queries.reading.reading import Reading

MIN_SHARE = 0.3  # of the largest class's: what an example is besides that
MAX_SECONDS = 30.0  # of an example are heard


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


class ClassedExamples(QueryEncoder):
    """Reads words by the model's own encoder, and a recording as the classes that the separator hears in it.

    Degrees of a recording are the classes' shares of its energy relative to the largest, 0 under
    MIN_SHARE of it. words: an encoder whose embeddings are degrees over the separator's classes.
    """

    def __init__(self, words: QueryEncoder, separator: Separator) -> None:
        self.words, self.separator = words, separator
        self.config, self.dim, self.fingerprint = words.config, words.dim, words.fingerprint
        self.modalities = words.modalities | {AudioQuery}
        self.class_names = words.class_names

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        if not queries:
            return self.words.encode(queries)
        return QueryEmbedding(torch.stack([self.degrees(query) for query in queries]))

    def degrees(self, query: Query) -> Tensor:
        """(dim,), in [0, 1]."""
        if isinstance(query, MixedQuery):
            return query.mix(torch.stack([self.degrees(part) for part in query.parts]), False)
        if not isinstance(query, AudioQuery):
            return self.words.encode([query]).pooled[0]
        shares = torch.stack([self.shares(example) for example in query.examples]).mean(dim=0)
        degrees = shares[:-1] / shares[:-1].max().clamp_min(1e-12)
        degrees = torch.where(degrees >= MIN_SHARE, degrees, 0)
        return torch.cat([degrees, degrees.new_zeros(1)])

    def shares(self, example: Media) -> Tensor:
        """(dim,), summing to 1: of an example's energy, by class and what is none."""
        rate = self.separator.sample_rate
        waveform = torch.from_numpy(read_recording(example, rate, MAX_SECONDS))[None]
        device = next(self.separator.parameters()).device  # type: ignore[attr-defined]
        return shares_of(self.separator, waveform.to(device)).cpu().float()

    def read(self, query: TextQuery) -> Reading | None:
        return self.words.read(query)

    def release(self) -> None:
        self.words.release()


def with_examples(separator: Separator, words: QueryEncoder) -> QueryEncoder:
    """The encoder, able to read example recordings too where the separator has a phrase book for it."""
    if ClassQuery in words.modalities and AudioQuery not in words.modalities:
        return ClassedExamples(words, separator)
    book = separator.phrase_book
    if book is None or readable(words.modalities, has_book=True) == words.modalities:
        return words
    return DescribedExamples(words, book.phrases)


def readable(modalities: frozenset[type], has_book: bool) -> frozenset[type]:
    """The kinds of query that a model reads whose encoder reads these, with a phrase book or without."""
    return modalities | {AudioQuery} if has_book and modalities == {TextQuery} else modalities

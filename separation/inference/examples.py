"""Example recordings as queries for models whose encoders read only text.

The recording is mapped to classes, by separating it, or to the phrases that describe it best.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from qsep.queries.encoders.joint import JointEncoder, shipped
from qsep.queries.interface import (
    AudioQuery,
    ClassQuery,
    MixedQuery,
    Plain,
    Query,
    QueryEmbedding,
    QueryEncoder,
    TextQuery,
    readable,
    unreadable,
)
from qsep.queries.media import read_recording

from ..interface import Separator
from .class_shares import shares_of

if TYPE_CHECKING:
    from qsep.queries.media import Media
    from qsep.queries.reading.reading import Reading

MIN_SHARE = 0.3  # of the largest class's energy; quieter classes get degree 0
MAX_SECONDS = 30.0  # of an example that are used


class DescribedExamples(QueryEncoder):
    """Encodes text by the model's own encoder, and a recording as a mean of the phrases that describe it.

    A joint encoder of text and audio compares the recording with the phrases; attention over them, at the
    joint encoder's temperature, gives a mean in the space of the text embeddings.
    words: the text encoder, with embeddings of unit norm. phrases: (p, d), the separator's phrase book.
    """

    unit_norm = True

    def __init__(self, words: QueryEncoder, phrases: Tensor) -> None:
        self.words, self.phrases = words, phrases.float().cpu()
        self.config, self.dim, self.fingerprint = words.config, words.dim, words.fingerprint
        self.modalities = words.modalities | {AudioQuery}

    @cached_property
    def joint(self) -> JointEncoder:
        """The joint encoder of text and audio that comes with the package."""
        return shipped()

    @property
    def joint_encoder(self) -> JointEncoder:
        """The encoder that comes with the package: `encode` maps recordings into the text encoder's space."""
        return self.joint

    @cached_property
    def joint_phrases(self) -> Tensor:
        """The phrases in the joint space: (p, dim of that space), unit norm."""
        with torch.inference_mode():
            return self.joint.network.text(self.phrases)

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        """As `QueryEncoder.encode`; pooled of unit norm."""
        if all(isinstance(query, TextQuery) for query in queries):
            return self.words.encode(queries)
        return QueryEmbedding(torch.stack([self.vector(query) for query in queries]))

    def vector(self, query: Query) -> Tensor:
        """(d,), unit norm."""
        if not isinstance(query, MixedQuery):
            return self.part(query)
        return query.mix(torch.stack([self.part(part) for part in query.parts]), self.unit_norm)

    def part(self, query: Plain | ClassQuery) -> Tensor:
        """(d,), unit norm; ValueError for kinds of query that are not read."""
        if type(query) not in self.modalities:
            raise unreadable(self, query)
        if not isinstance(query, AudioQuery):
            return self.words.encode([query]).pooled[0]
        with torch.inference_mode():
            similarity = self.joint_phrases @ self.joint.vector(query)
            attention = (self.joint.network.scale() * similarity).softmax(dim=0)
            return F.normalize(attention @ self.phrases, dim=0).clone()


class ClassedExamples(QueryEncoder):
    """Encodes text by the model's own encoder, and a recording as the classes that the separator finds in it.

    Degrees of a recording are the classes' energies relative to the largest, 0 below MIN_SHARE.
    words: an encoder whose embeddings are degrees over the separator's classes.
    """

    def __init__(self, words: QueryEncoder, separator: Separator) -> None:
        self.words, self.separator = words, separator
        self.config, self.dim, self.fingerprint = words.config, words.dim, words.fingerprint
        self.modalities = words.modalities | {AudioQuery}
        self.class_names, self.book = words.class_names, words.book

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        """As `QueryEncoder.encode`; pooled in [0, 1]."""
        if not queries:
            return self.words.encode(queries)
        return QueryEmbedding(torch.stack([self.degrees(query) for query in queries]))

    def degrees(self, query: Query) -> Tensor:
        """A query's degrees (dim,), in [0, 1]."""
        if isinstance(query, MixedQuery):
            return query.mix(torch.stack([self.degrees(part) for part in query.parts]), False)
        if not isinstance(query, AudioQuery):
            return self.words.encode([query]).pooled[0]
        shares = torch.stack([self.shares(example) for example in query.examples]).mean(dim=0)
        degrees = shares[:-1] / shares[:-1].max().clamp_min(1e-12)
        degrees = torch.where(degrees >= MIN_SHARE, degrees, 0)
        return torch.cat([degrees, degrees.new_zeros(1)])

    def shares(self, example: Media) -> Tensor:
        """Shares (dim,) of an example's energy, by class and, last, for no class; they sum to 1."""
        rate = self.separator.sample_rate
        waveform = torch.from_numpy(read_recording(example, rate, MAX_SECONDS))[None]
        return shares_of(self.separator, waveform).cpu().float()

    def read(self, query: TextQuery) -> Reading | None:
        """As `QueryEncoder.read`, by the text encoder."""
        return self.words.read(query)

    def release(self) -> None:
        """As `QueryEncoder.release`, of the text encoder."""
        self.words.release()


def with_examples(separator: Separator, words: QueryEncoder) -> QueryEncoder:
    """An encoder that also reads recordings, if the separator knows classes or has a phrase book."""
    if ClassQuery in words.modalities and AudioQuery not in words.modalities:
        return ClassedExamples(words, separator)
    book = separator.phrase_book
    if book is None or readable(words.modalities, has_book=True) == words.modalities:
        return words
    return DescribedExamples(words, book.phrases)

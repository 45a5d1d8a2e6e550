"""Example recordings of queries, read by the same reader as mixtures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from qsep.queries.interface import AudioQuery, ClassQuery, MixedQuery, Plain, Query

from .reader import AudioReader
from .sample_format import Waveform


def decodable(query: Query) -> Query:
    """The same query with its files decoded by AudioReader, hence also by ffmpeg if it is installed."""
    if isinstance(query, MixedQuery):
        return MixedQuery(*map(decodable_part, query.parts), weights=query.weights)
    return query if isinstance(query, ClassQuery) else decodable_part(query)


def decodable_part(query: Plain) -> Plain:
    """As `decodable`, for a query that is no mix."""
    if not isinstance(query, AudioQuery):
        return query
    decodable_query = object.__new__(AudioQuery)
    examples = tuple(replace(media, decode=first_seconds) for media in query.examples)
    object.__setattr__(decodable_query, "examples", examples)
    return decodable_query


def first_seconds(path: Path, max_seconds: float) -> tuple[Waveform, int, bool]:
    """Samples (t, c), float32, of at most max_seconds; their rate in Hz; and whether the file has more.

    Raises AudioError for files that cannot be read.
    """
    with AudioReader(path) as reader:
        max_samples = round(min(max_seconds * reader.sample_rate, 2.0**62))
        pieces, num_read = [], 0
        for block in reader.blocks(1 << 16):
            pieces.append(block)
            num_read += block.shape[1]
            if num_read > max_samples:
                break
        samples = np.concatenate(pieces, axis=1).T[:max_samples].astype(np.float32)
        return samples, reader.sample_rate, num_read > max_samples

"""Example recordings of queries, read as every other recording is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from qsep.queries.interface import AudioQuery, MixedQuery, Query

from .reader import AudioReader
from .sample_format import Waveform


def decodable(query: Query) -> Query:
    """The same query, whose files are read by AudioReader: whatever ffmpeg reads may be an example."""
    if isinstance(query, MixedQuery):
        parts = tuple(decodable(part) for part in query.parts)
        return MixedQuery(*parts, weights=query.weights)  # type: ignore[arg-type]
    if not isinstance(query, AudioQuery):
        return query
    same = object.__new__(AudioQuery)
    examples = tuple(replace(media, decode=first_seconds) for media in query.examples)
    object.__setattr__(same, "examples", examples)
    return same


def first_seconds(path: Path, max_seconds: float) -> tuple[Waveform, int, bool]:
    """Samples (t, c) of at most so many seconds, their rate, and whether there are more."""
    with AudioReader(path) as reader:
        most = round(min(max_seconds * reader.sample_rate, 2.0**62))
        pieces, num_read = [], 0
        for block in reader.blocks(1 << 16):
            pieces.append(block)
            num_read += block.shape[1]
            if num_read > most:
                break
        samples = np.concatenate(pieces, axis=1).T[:most].astype(np.float32)
        return samples, reader.sample_rate, num_read > most

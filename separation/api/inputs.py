"""What callers of the Python interface may pass: a recording as a file or an array, a query as words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from qsep.queries.interface import Query, TextQuery

from ..audio.arrays import as_channels, as_rate
from ..audio.reader import AudioReader
from ..audio.source import AS_STORED, ReadOptions

MAX_PEAK = 1e6  # of an array, full scale at 1; squares of louder samples overflow in float32

Audio = str | Path | NDArray[np.floating] | Tensor
QueryLike = str | Query


@dataclass(frozen=True)
class Recording:
    """samples: (c, t) at sample_rate in Hz. stem and subtype: of the files that results are saved to."""

    samples: NDArray[np.floating]
    sample_rate: int
    stem: str
    subtype: str


def as_recording(
    audio: Audio, sample_rate: int | None, read_options: ReadOptions, model_rate: int
) -> Recording:
    """A whole file, or an array or tensor (t,) or (c, t), full scale at 1, of sample_rate, by default
    model_rate. ValueError (AudioError for files) if it cannot be used."""
    if isinstance(audio, str | Path):
        if sample_rate is not None:
            raise ValueError("sample_rate is the file's own; give it for arrays only")
        with AudioReader(audio, options=read_options) as reader:
            return Recording(reader.read(), reader.sample_rate, Path(audio).stem, reader.subtype)
    if read_options != AS_STORED:
        raise ValueError("read_options say how a file is read; give them for files only")
    rate = model_rate if sample_rate is None else as_rate(sample_rate)
    samples = as_channels(audio)
    if (peak := float(np.abs(samples).max())) > MAX_PEAK:
        raise ValueError(f"the audio's peak is {peak:.3g}; full scale is 1: scale it first")
    return Recording(samples, rate, "audio", "FLOAT")


def as_query(query: QueryLike) -> Query:
    """The query itself, or text as a TextQuery; ValueError for empty text and for anything else."""
    if isinstance(query, str):
        return TextQuery(query)
    if not isinstance(query, Query):
        raise ValueError(f"expected a query as text, got {query!r}")
    return query


def as_queries(query: QueryLike | Sequence[QueryLike]) -> list[Query]:
    """One query or several as a list; ValueError for an empty list and for empty text."""
    if isinstance(query, str | Query):
        return [as_query(query)]
    if not isinstance(query, Iterable):
        raise ValueError(f"expected a query as text, or several in a list, got {query!r}")
    queries = list(query)
    if not queries:
        raise ValueError("no query given; say which sound to separate, e.g. 'a dog barking'")
    return [as_query(item) for item in queries]

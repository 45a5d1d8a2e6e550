"""Queries for sounds that no class covers: everything in the recording but the classes present in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from qsep.queries.interface import ClassQuery, Query
from qsep.queries.reading.book import OTHER
from qsep.queries.reading.reading import AtomReading, Familiarity, Reading

from ..interface import Separator
from .class_shares import present_classes

# A class whose target is at least this loud, relative to the mixture, is present.
PRESENT_DB = -20.0


def degrees_in(
    reading: Reading, levels_db: Mapping[str, float], present_db: float = PRESENT_DB
) -> NDArray[np.float32]:
    """Degrees (num_classes + 1,) of a query in one recording, the last one for "other".

    levels_db: energy of the separator's target of each class relative to the mixture. Words unlike every
    class mean all classes but those present; classes that the words are similar to keep their degree.
    Known words do not depend on the recording.
    """

    def all_but_present(atom: AtomReading) -> NDArray[np.float32]:
        present = {label for label, level in levels_db.items() if level >= present_db}
        present -= {*atom.near, OTHER}
        return np.array([label not in present for label in reading.labels], np.float32)

    return reading.degrees(all_but_present)


def resolve_unknown(
    separator: Separator,
    queries: Sequence[Query],
    readings: Sequence[Reading | None],
    blocks: Iterable[NDArray[np.floating]],
    sample_rate: int,
) -> list[Query]:
    """The queries, with those that have unknown words replaced by a ClassQuery for this recording.

    readings: of each query, None for queries that are no text. blocks: (c, t) of the recording or of its
    beginning, at sample_rate in Hz; consumed only if a query needs them.
    """
    unknown = [
        index for index, reading in enumerate(readings) if reading and has_unknown_words(reading)
    ]
    if not unknown:
        return list(queries)
    levels_db = dict.fromkeys(present_classes(separator, blocks, sample_rate), 0.0)
    resolved = list(queries)
    for index in unknown:
        reading = readings[index]
        assert reading is not None
        degrees = degrees_in(reading, levels_db)
        named = dict(zip(separator.classes, map(float, degrees[:-1]), strict=True))
        resolved[index] = ClassQuery(named, other=float(degrees[-1]))
    return resolved


def has_unknown_words(reading: Reading) -> bool:
    """Whether some part of the query is unlike every class."""
    return any(atom.familiarity is Familiarity.UNKNOWN for atom in reading.atoms.values())

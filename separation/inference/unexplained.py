"""A sound that no class names: what the known sounds of a recording leave of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from qsep.queries.interface import ClassQuery, Query, QueryEncoder, TextQuery
from qsep.queries.reading.book import OTHER
from qsep.queries.reading.reading import AtomReading, Familiarity, Reading

from ..detection.class_sounds import present_classes
from ..interface import Separator

PRESENT_DB = -20.0  # a class this little under the mixture is there


def degrees_in(
    reading: Reading, levels_db: Mapping[str, float], present_db: float = PRESENT_DB
) -> NDArray[np.float32]:
    """Degrees (num_classes + 1,) of a query in one recording, the last that of "other".

    levels_db: energy of what the separator takes for each class, relative to the mixture. Words that are
    unlike every class ask for all but the classes that are there; a class that the words are near to stays
    asked for. Words that are known mean the same in any recording.
    """

    def unexplained(atom: AtomReading) -> NDArray[np.float32]:
        there = {label for label, level in levels_db.items() if level >= present_db}
        there -= {*atom.near, OTHER}
        return np.array([label not in there for label in reading.labels], np.float32)

    return reading.degrees(unexplained)


def unknown_readings(encoder: QueryEncoder, queries: Sequence[Query]) -> dict[int, Reading]:
    """Of the queries whose words are unlike every class, by their place."""
    readings = {
        place: encoder.read(query)
        for place, query in enumerate(queries)
        if isinstance(query, TextQuery)
    }
    return {
        place: reading
        for place, reading in readings.items()
        if reading
        and any(atom.familiarity is Familiarity.UNKNOWN for atom in reading.atoms.values())
    }


def resolved(
    separator: Separator,
    encoder: QueryEncoder,
    queries: Sequence[Query],
    blocks: Iterable[NDArray[np.floating]],
    sample_rate: int,
) -> list[Query]:
    """The queries as this recording answers them: unknown words ask for what its known classes leave.

    blocks: (c, t) of the recording, or of its beginning; read only where a query needs it. Separators that
    do not tell classes apart get the queries as they are.
    """
    answers = list(queries)
    unknown = unknown_readings(encoder, queries)
    if not unknown:
        return answers
    present = present_classes(separator, blocks, sample_rate)
    levels_db = dict.fromkeys(present, 0.0)
    for place, reading in unknown.items():
        degrees = degrees_in(reading, levels_db)
        named = dict(zip(separator.classes, map(float, degrees[:-1]), strict=True))
        answers[place] = ClassQuery(named, other=float(degrees[-1]))
    return answers

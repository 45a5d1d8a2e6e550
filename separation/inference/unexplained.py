"""A sound that no class names: what the known sounds of a recording leave of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from qsep.queries.reading.book import OTHER
from qsep.queries.reading.reading import AtomReading, Reading

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

"""What separating one query returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qsep.queries.interface import Query
from qsep.queries.reading.reading import Reading

from ..audio.arrays import as_array
from ..audio.file_names import DEFAULT_NAMING
from ..audio.target_files import write_target


@dataclass(frozen=True)
class Result:
    """The sound that a query names, and everything else; target + residual is the recording.

    target, residual: (t,) or (c, t), of the input's type and shape; NumPy arrays (c, t) for a file.
    sample_rate: in Hz. level_db: the target's energy relative to the recording's, -inf if it is silent.
    stem, subtype: first part of the file names and sample format that `save` uses.
    reading: the classes that the query's words were mapped to, for models that do so; otherwise None.
    """

    query: Query
    target: Any
    residual: Any
    sample_rate: int
    level_db: float
    stem: str = "audio"
    subtype: str = "FLOAT"
    reading: Reading | None = None

    def save(self, folder: str | Path, residual: bool = True) -> list[Path]:
        """Write STEM.QUERY.wav and, if `residual`, STEM.QUERY.residual.wav; return their paths.

        Creates the folder and replaces existing files. Raises AudioError if a file cannot be written.
        """
        return write_target(
            Path(folder),
            DEFAULT_NAMING.result_names(self.stem, self.query.name, residual),
            as_array(self.target),
            as_array(self.residual),
            self.sample_rate,
            self.subtype,
        )

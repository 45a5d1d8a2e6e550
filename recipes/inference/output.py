"""How the results of a command are written and reported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Output:
    """Where results go, in what form, and what is printed about them.

    folder: of the results; made when the first is written. residual: whether to write the residuals too.
    file_format: a name of `separation.audio.flac.FORMATS`. overwrite: replace results of earlier runs.
    json: print one JSON object per result, instead of a line for people. quiet: print errors only.
    """

    folder: Path
    residual: bool = False
    file_format: str = "wav"
    overwrite: bool = False
    json: bool = False
    quiet: bool = False

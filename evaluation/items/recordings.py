"""Files that protocols have in common: lists with their hash, and the recordings that they name."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qsep.separation.storage.listed_paths import check_inside

NUM_SHOWN = 10


def read_list(path: Path) -> tuple[list[list[str]], str]:
    """The non-empty rows of a CSV file, its header included, and the file's SHA-256.

    Raises FileNotFoundError, or ValueError if it is empty or not CSV in UTF-8.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such list")
    content = path.read_bytes()
    try:
        rows = [row for row in csv.reader(io.StringIO(content.decode("utf-8"), newline="")) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a CSV file in UTF-8: {error}") from None
    if not rows:
        raise ValueError(f"{path}: the list is empty")
    return rows, hashlib.sha256(content).hexdigest()


def without_header(path: Path, rows: list[list[str]], num_columns: int) -> list[list[str]]:
    """The rows after the first; ValueError if there are none or one has not num_columns cells."""
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != num_columns:
            raise ValueError(f"{path}, row {number}: {len(row)} cells, expected {num_columns}")
    if len(rows) < 2:
        raise ValueError(f"{path}: nothing after the header")
    return rows[1:]


def combined_hash(hashes: Iterable[str]) -> str:
    """SHA-256 of several hashes or names, in their order."""
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def listed(names: list[str]) -> str:
    """The first NUM_SHOWN of the names, and the number of others."""
    more = f" and {len(names) - NUM_SHOWN} more" if len(names) > NUM_SHOWN else ""
    return ", ".join(names[:NUM_SHOWN]) + more


def check_files(names: Iterable[str], folder: Path, remedy: str = "") -> None:
    """Raise FileNotFoundError, in one line, unless all names are files in the folder.

    ValueError for names that leave the folder, unless that is allowed (see `check_inside`).
    """
    required = sorted(set(names))
    check_inside(required, f"the list of {folder}")
    missing = [name for name in required if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(required)} files that the list needs are not in {folder}"
            f"{remedy}: {listed(missing)}"
        )


def cut_around(
    audio: NDArray[np.float32], centre: int, num_samples: int, path: Path
) -> NDArray[np.float32]:
    """(num_samples,) of audio (t,) around sample `centre`, num_samples // 2 on either side of it.

    Zeros where the cut reaches past an end, and in the last sample of an odd number; audio shorter than the
    cut is repeated. As in "The sound of pixels" (Zhao et al. 2018). Raises ValueError for empty audio, or
    if it ends before the cut; path: the file, for the message.
    """
    if len(audio) == 0:
        raise ValueError(f"{path}: holds no samples")
    if len(audio) < num_samples:
        audio = np.tile(audio, num_samples // len(audio) + 1)
    half = num_samples // 2
    start, end = max(0, centre - half), min(len(audio), centre + half)
    if end <= start:
        raise ValueError(f"{path}: ends before the centre that the list gives")
    piece = np.zeros(num_samples, np.float32)
    piece[half - (centre - start) : half + (end - centre)] = audio[start:end]
    return piece

"""What protocols have in common on disk: lists with a hash, and the recordings that they name."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

NUM_SHOWN = 10


def read_list(path: Path) -> tuple[list[list[str]], str]:
    """The rows of a CSV file that are not empty, its header among them if it has one, and its SHA-256."""
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
    """The rows after the first, checked to be as wide as the publication has them."""
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != num_columns:
            raise ValueError(f"{path}, row {number}: {len(row)} cells, expected {num_columns}")
    if len(rows) < 2:
        raise ValueError(f"{path}: nothing after the header")
    return rows[1:]


def combined_hash(hashes: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def listed(names: list[str]) -> str:
    """The first of them, and how many more."""
    more = f" and {len(names) - NUM_SHOWN} more" if len(names) > NUM_SHOWN else ""
    return ", ".join(names[:NUM_SHOWN]) + more


def check_files(names: Iterable[str], folder: Path, remedy: str = "") -> None:
    """Raise FileNotFoundError, one line, unless all are files in the folder."""
    wanted = sorted(set(names))
    missing = [name for name in wanted if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(wanted)} files that the list needs are not in {folder}"
            f"{remedy}: {listed(missing)}"
        )


def cut_around(
    audio: NDArray[np.float32], centre: int, num_samples: int, path: Path
) -> NDArray[np.float32]:
    """(num_samples,): half of them, rounded down, on either side of a sample of audio (t,).

    Where the cut passes an end there are zeros, as in the last sample of an odd number. Audio shorter than
    the cut is repeated. The cut of "The sound of pixels" (Zhao et al. 2018) and of those who follow it.
    """
    if len(audio) == 0:
        raise ValueError(f"{path}: holds no samples")
    if len(audio) < num_samples:
        audio = np.tile(audio, num_samples // len(audio) + 1)
    half = num_samples // 2
    start, end = max(0, centre - half), min(len(audio), centre + half)
    if end <= start:
        raise ValueError(f"{path}: ends before the middle that the list gives it")
    piece = np.zeros(num_samples, np.float32)
    piece[half - (centre - start) : half + (end - centre)] = audio[start:end]
    return piece

"""CSV files of unknown origin."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def as_table(path: Path) -> Iterator[None]:
    """A context for reading a CSV file: what Python's reader refuses is a ValueError that names the file.

    As a cell longer than its limit, mostly an open quotation mark, and bytes that are not UTF-8.
    """
    try:
        yield
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a CSV file in UTF-8 ({error}): save it as one") from error

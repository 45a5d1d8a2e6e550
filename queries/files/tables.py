"""CSV files of unknown origin."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Rows(csv.DictReader):  # type: ignore[type-arg]  # not generic before Python 3.12
    """The rows of a CSV file with a header, as dictionaries.

    Raises csv.Error for a row with more cells than the header, whose text would be cut at a comma, and for
    one with fewer unless `may_be_short`; missing cells are None.
    """

    def __init__(
        self, lines: Iterable[str], may_be_short: bool = False, delimiter: str = ","
    ) -> None:
        super().__init__(lines, delimiter=delimiter)
        self.may_be_short = may_be_short

    def __next__(self) -> dict[str, Any]:
        row: dict[Any, Any] = super().__next__()
        if None in row:
            raise csv.Error(
                f"line {self.line_num} has more cells than the header: a cell with a comma needs "
                "quotation marks"
            )
        if None in row.values() and not self.may_be_short:
            raise csv.Error(f"line {self.line_num} has fewer cells than the header")
        return row


@contextmanager
def as_table(path: Path) -> Iterator[None]:
    """A context for reading a CSV file: what Python's reader refuses is a ValueError that names the file.

    As a cell longer than its limit, mostly an open quotation mark, and bytes that are not UTF-8.
    """
    try:
        yield
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a CSV file in UTF-8 ({error}): save it as one") from error

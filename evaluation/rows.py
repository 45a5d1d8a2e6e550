"""items.csv: one row for each item, appended as it is scored, read back to resume a run."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from qsep.queries.files.tables import as_table
from qsep.separation.storage.csv_cells import inert, plain
from qsep.separation.storage.temporary import write_atomically

from .scores import COLUMNS, NUMBERS, Row

HEADER = ",".join(COLUMNS) + "\n"


def read_rows(path: Path) -> list[Row]:
    """The rows of a file, without an incomplete last line; none if the file does not exist.

    Metrics that an earlier version did not measure are None in its rows. Raises ValueError for columns
    that this version does not know, and for a damaged row.
    """
    text = path.read_bytes().decode("utf-8", "replace") if path.exists() else HEADER
    whole = text[: text.rfind("\n") + 1] or HEADER
    reader = csv.DictReader(io.StringIO(whole, newline=""))
    with as_table(path):
        columns = reader.fieldnames or ()
        if not set(COLUMNS) - set(NUMBERS) <= set(columns) <= set(COLUMNS):
            raise ValueError(
                f"{path} has other columns than this version writes; evaluate anew, with --overwrite"
            )
        rows = []
        for cells in reader:
            try:
                rows.append(parse(cells))
            except ValueError as error:
                raise ValueError(
                    f"{path}, line {reader.line_num}, is damaged ({error}): remove the line, or evaluate "
                    "anew, with --overwrite"
                ) from error
        return rows


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Replace the file, atomically, by the header and these rows."""
    text = HEADER + "".join(map(as_line, rows))
    write_atomically(path, lambda file: file.write_text(text, encoding="utf-8", newline="\n"))


def as_line(row: Row) -> str:
    """A row as a line of items.csv."""
    file = io.StringIO(newline="")
    cells = inert(row.get(column) for column in COLUMNS)
    csv.writer(file, lineterminator="\n").writerow(cells)
    return file.getvalue()


def parse(cells: Mapping[str, str]) -> Row:
    """A row from the text of its cells; empty numbers become None. ValueError for text in their place, and
    for too few or too many cells."""
    if None in cells or None in cells.values():
        raise ValueError("not as many cells as columns")
    row: Row = {name: plain(cell) for name, cell in cells.items()}
    row |= {name: float(cells[name]) if cells.get(name) else None for name in NUMBERS}
    row["num_sources"] = int(cells["num_sources"]) if cells["num_sources"] else None
    return row

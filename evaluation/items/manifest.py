"""Manifests: CSV files that list mixtures, their sources and queries, one mixture a line.

COLUMNS: paths relative to the data folder and starts in seconds, lists joined by ";". snr_db: power of the
target over that of each interferer, in dB. A target of several files is a family's: one query asks for all of
them, and its label is the family's name.
"""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .recordings import check_files

COLUMNS = (
    *("id", "query", "seconds", "snr_db"),
    *("target", "target_start", "target_label"),
    *("interferers", "interferer_starts", "interferer_labels"),
)


class Cut(NamedTuple):
    """A recording, relative to the data folder, and the time in it at which the mixture begins."""

    path: str
    start_seconds: float


@dataclass(frozen=True)
class MixtureRow:
    """One line of a manifest. targets: one recording, or a family's two or more; labels: the interferers'."""

    id: str
    query: str
    seconds: float
    label: str
    targets: tuple[Cut, ...]
    interferers: tuple[Cut, ...]
    labels: tuple[str, ...]
    snr_db: float

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """All recordings of the mixture: targets, then interferers."""
        return self.targets + self.interferers

    @property
    def names_family(self) -> bool:
        """Whether the query asks for a family, so that there are several targets."""
        return len(self.targets) > 1


def parse_manifest(content: bytes, source: str) -> tuple[MixtureRow, ...]:
    """The lines of a manifest. source: its name in errors.

    Raises ValueError for bad CSV, missing columns, bad values, repeated ids or no lines at all.
    """
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""))
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"{source} lacks the columns {', '.join(missing)}")
        rows = []
        for cells in reader:
            try:
                rows.append(_parse_row(cells))
            except ValueError as error:
                raise ValueError(f"{source}, line {reader.line_num}: {error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{source} is not a CSV file in UTF-8: {error}") from None
    repeated = [item_id for item_id, n in Counter(row.id for row in rows).items() if n > 1]
    if repeated or not rows:
        raise ValueError(f"{source} " + (f"repeats id {repeated[0]}" if rows else "has no rows"))
    return tuple(rows)


def check_recordings(rows: Sequence[MixtureRow], data: Path) -> None:
    """Raise FileNotFoundError if any recording is missing from the data folder."""
    check_files((cut.path for row in rows for cut in row.cuts), data)


def _parse_row(cells: dict[str, str]) -> MixtureRow:
    if None in cells or None in cells.values():
        raise ValueError("expected as many cells as the header has")
    targets = _cuts(cells, "target", "target_start")
    interferers = _cuts(cells, "interferers", "interferer_starts")
    labels = tuple(cells["interferer_labels"].split(";"))
    if len(labels) != len(interferers):
        raise ValueError(
            f"{len(interferers)} interferers and {len(labels)} interferer_labels; expected one of "
            "each per interferer"
        )
    seconds, snr_db = float(cells["seconds"]), float(cells["snr_db"])
    if not 0 < seconds < math.inf:
        raise ValueError(f"expected seconds > 0, got {seconds}")
    if not math.isfinite(snr_db):
        raise ValueError(f"expected a finite snr_db, got {snr_db}")
    return MixtureRow(
        *(cells["id"], cells["query"], seconds, cells["target_label"]),
        *(targets, interferers, labels, snr_db),
    )


def _cuts(cells: dict[str, str], files: str, starts: str) -> tuple[Cut, ...]:
    paths, times = cells[files].split(";"), [float(start) for start in cells[starts].split(";")]
    if len(paths) != len(times):
        raise ValueError(f"{len(paths)} {files} and {len(times)} {starts}; expected one of each")
    if not all(0 <= time < math.inf for time in times):
        raise ValueError(f"expected starts >= 0, got {times}")
    return tuple(map(Cut, paths, times))

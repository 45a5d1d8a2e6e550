"""What the publishers' lists say of their recordings, in one form for all data sets."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Listed:
    """One recording of a list.

    split: "train", "dev" or "test". name: its file's without the ending, or of a video its YouTube id.
    captions: one or more, each of which describes all that is heard. labels: the publisher's, if there
    are. origin: where it was first published, as "youtube:ID" or "freesound:ID", by which data sets
    that share recordings are kept apart. part: of the data set, if names are unique only within parts.
    """

    split: str
    name: str
    captions: tuple[str, ...]
    origin: str
    labels: tuple[str, ...] = ()
    part: str = ""

    @property
    def youtube(self) -> bool:
        return self.origin.startswith("youtube:")


@dataclass(frozen=True)
class Listing:
    """excluded: what the publisher advises to leave out of training, by origin, and why. unwanted: parts
    of the data set that were not asked for."""

    clips: Sequence[Listed]
    excluded: dict[str, str] = field(default_factory=dict)
    unwanted: tuple[str, ...] = ()


def read_rows(
    path: Path, columns: Sequence[str], delimiter: str = ",", encoding: str = "utf-8-sig"
) -> Iterator[dict[str, str]]:
    """The rows of a table whose header has these columns; ValueError for any other file."""
    with path.open(newline="", encoding=encoding) as file:
        rows = csv.DictReader(file, delimiter=delimiter)
        try:
            lacking = [column for column in columns if column not in (rows.fieldnames or ())]
            if lacking:
                raise ValueError(f"{path}: no column {', '.join(lacking)}")
            for row in rows:
                if any(row[column] is None for column in columns):
                    raise ValueError(f"{path}, line {rows.line_num}: fewer cells than columns")
                yield row
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path} is not such a table: {error}") from None

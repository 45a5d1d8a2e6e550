"""The recordings that a publisher's lists name, in one format for all data sets."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Listed:
    """One recording of a list.

    split: "train", "dev" or "test". name: its file name without extension, or its YouTube id. captions: at
    least one; each describes the whole recording. labels: the publisher's, if any. origin: where it was first
    published, as "youtube:ID" or "freesound:ID", which identifies recordings that data sets share. part: of
    the data set, if names are unique only within parts.
    """

    split: str
    name: str
    captions: tuple[str, ...]
    origin: str
    labels: tuple[str, ...] = ()
    part: str = ""

    @property
    def youtube(self) -> bool:
        """Whether the recording is known by a YouTube id."""
        return self.origin.startswith("youtube:")


@dataclass(frozen=True)
class Listing:
    """clips: all recordings listed. excluded: by origin, the reason to leave a recording out of training.
    unwanted: parts of the data set to ignore."""

    clips: Sequence[Listed]
    excluded: dict[str, str] = field(default_factory=dict)
    unwanted: tuple[str, ...] = ()


def read_rows(
    path: Path, columns: Sequence[str], delimiter: str = ",", encoding: str = "utf-8-sig"
) -> Iterator[dict[str, str]]:
    """The rows of a table; ValueError unless its header has these columns."""
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
            raise ValueError(f"{path} is not a table in {encoding}: {error}") from None

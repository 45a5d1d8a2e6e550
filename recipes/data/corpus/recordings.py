"""Labelled recordings, listed from a folder of classes or from a table."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qsep.queries.files.tables import Rows
from qsep.separation.storage.listed_paths import check_inside

from ..prepare.tree import CONVERTIBLE, READABLE
from ..walk import visible_files

SPLITS = ("train", "dev", "test")
RESERVED = "other"  # what models call a sound outside their classes
DETAILS = ("licence", "author", "url", "dataset")


@dataclass(frozen=True)
class Recording:
    """path: of the file. label: lower case with underscores, as "dog_bark". group: recordings of one group
    stay in one split; "" for a group of its own. split: "" if not assigned. details: (name, value) of those
    of DETAILS that are known."""

    path: Path
    label: str
    group: str = ""
    split: str = ""
    details: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Columns:
    """Names of a table's columns; None for a column that it does not have."""

    file: str = "file"
    label: str = "label"
    group: str | None = None
    split: str | None = None


def label_of(text: str) -> str:
    """Lower case, with underscores for everything but letters and digits.

    Raises ValueError for text without letters and digits, and for RESERVED.
    """
    label = re.sub(r"[\W_]+", "_", text.strip().lower()).strip("_")
    if not label or label == RESERVED:
        raise ValueError(
            f"{text!r} cannot be a label: it needs letters or digits, and must not be {RESERVED!r}"
        )
    return label


def read_folder(folder: Path) -> list[Recording]:
    """The recordings of a folder with a subfolder per class; folders inside these are groups.

    Raises ValueError for recordings outside the subfolders, and if there are none.
    """
    recordings = []
    for path in audio_below(folder):
        below = path.relative_to(folder).parts
        if len(below) == 1:
            raise ValueError(
                f"{path} is in no class folder: sort recordings into a folder per class, or give a "
                "table of files and labels"
            )
        group = f"{below[0]}/{below[1]}" if len(below) > 2 else ""
        recordings.append(Recording(path, label_of(below[0]), group))
    if not recordings:
        raise ValueError(f"{folder}: no recordings in it; expected a subfolder per class")
    return recordings


def audio_below(folder: Path) -> Iterator[Path]:
    """All audio and video files below a folder, sorted, links followed, hidden ones left out."""
    for path in visible_files(folder):
        if path.suffix.lower() in READABLE | CONVERTIBLE:
            yield path


def read_table(path: Path, columns: Columns, folder: Path | None = None) -> list[Recording]:
    """The recordings of a CSV or TSV table. folder: of the files; default: the table's folder.

    File names may lack the extension if only one recording has the name. Raises ValueError for missing
    columns, files or labels, for files outside the folder (see `check_inside`), and for tables that are not
    UTF-8.
    """
    folder = folder or path.parent
    recordings = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        rows = Rows(file, delimiter=delimiter)
        try:
            names = [c for c in (columns.file, columns.label, columns.group, columns.split) if c]
            lacking = [column for column in names if column not in (rows.fieldnames or ())]
            if lacking:
                raise ValueError(
                    f"{path}: no column {lacking[0]!r}; it has {', '.join(rows.fieldnames or ())}. "
                    "Name the columns with --file-column and --label-column"
                )
            for row in rows:
                recordings.append(
                    recording_of(row, columns, folder, f"{path}, line {rows.line_num}")
                )
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path} is not a table in UTF-8: {error}") from None
    if not recordings:
        raise ValueError(f"{path}: no rows")
    return recordings


def recording_of(row: dict[str, str], columns: Columns, folder: Path, line: str) -> Recording:
    """The recording of a row. line: for messages. Raises ValueError as `read_table`."""
    cells = [row[columns.file], row[columns.label]]
    if not all(cells):
        raise ValueError(f"{line}: no {columns.file if not cells[0] else columns.label}")
    check_inside([cells[0].strip()], line)
    split = (row[columns.split] or "").strip().lower() if columns.split else ""
    split = {"val": "dev", "valid": "dev", "validation": "dev"}.get(split, split)
    if columns.split and split not in SPLITS:
        raise ValueError(f"{line}: split {split!r}; expected one of {', '.join(SPLITS)}")
    try:
        label = label_of(cells[1])
    except ValueError as error:
        raise ValueError(f"{line}: {error}") from None
    details = tuple((name, row[name]) for name in DETAILS if row.get(name))
    group = (row[columns.group] or "") if columns.group else ""
    return Recording(find(folder, cells[0].strip()), label, group, split, details)


def find(folder: Path, name: str) -> Path:
    """The file of this name, or the only one with this name and an audio extension; else the plain path."""
    path = folder / name
    if path.is_file():
        return path
    endings = [path.with_name(path.name + ending) for ending in sorted(READABLE | CONVERTIBLE)]
    files = [candidate for candidate in endings if candidate.is_file()]
    return files[0] if len(files) == 1 else path

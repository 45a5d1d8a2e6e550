"""Lists of recordings, with or without queries for each: text, CSV or JSONL."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from qsep.queries.files.tables import Rows, as_table

from .jobs import Job

PATH_NAMES = ("input", "path", "file")  # of the column or key that names the recording
STDIN = Path("-")


def read_list(file: Path, allow_outside: bool = False) -> Iterator[Job]:
    """A job for each entry of a list; results keep the recordings' subfolders of the list's folder.

    The format follows from the suffix: CSV with a header (`input`, and optionally `query`), JSONL with
    objects of the same keys (`query` may be a list), else text with a path on each line, optionally
    followed by a tab and a query. "-" reads text from standard input. Paths are relative to the list's
    folder. Raises ValueError for a list that cannot be read, and for paths outside its folder unless
    allow_outside.
    """
    base = Path(".") if file == STDIN else file.parent
    kind = file.suffix.lower()
    read = {".csv": rows_of_csv, ".jsonl": rows_of_json, ".ndjson": rows_of_json}.get(
        kind, rows_of_text
    )
    for number, (path, queries) in read(file):
        if not path:
            raise ValueError(f"{file} line {number}: no path: give the path of a recording")
        if any(not query.strip() for query in queries):
            raise ValueError(f"{file} line {number}: an empty query: write it, or leave it out")
        yield Job(str(base / path), folder_of(file, number, base, path, allow_outside), queries)


Entry = tuple[int, tuple[str, tuple[str, ...]]]


def rows_of_text(file: Path) -> Iterator[Entry]:
    """Entries of a text file: a path on each line, optionally followed by a tab and a query."""
    for number, line in enumerate(text_of(file).splitlines(), 1):
        path, tab, query = line.partition("\t")
        if line.strip():
            yield number, (path, (query,) if tab else ())


def rows_of_csv(file: Path) -> Iterator[Entry]:
    """Entries of a CSV file with a header: a column of paths, and optionally `query`."""
    reader = Rows(io.StringIO(text_of(file), newline=""), may_be_short=True)
    with as_table(file):
        names = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = names
        column = next((name for name in PATH_NAMES if name in names), None)
        if column is None:
            raise ValueError(f"{file} has no column {' or '.join(PATH_NAMES)}: name it in line 1")
        for name in (column, "query"):
            if names.count(name) > 1:
                raise ValueError(f"{file} has several columns {name}: leave one")
        for row in reader:
            query = row.get("query")
            yield reader.line_num, (row[column] or "", (query,) if query else ())


def rows_of_json(file: Path) -> Iterator[Entry]:
    """Entries of a JSONL file, an object on each line; a manifest of an earlier run is one."""
    for number, line in enumerate(text_of(file).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{file} line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise ValueError(f'{file} line {number}: expected an object, as {{"input": "a.wav"}}')
        if "run" in row:  # the first line of a manifest
            continue
        path = next((row[name] for name in PATH_NAMES if name in row), "")
        query = row.get("query") or []
        queries = [query] if isinstance(query, str) else query
        if not isinstance(path, str) or not is_words(queries):
            raise ValueError(
                f"{file} line {number}: expected a path, and a query as text or a list of texts"
            )
        yield number, (path, tuple(queries))


def is_words(values: Any) -> bool:
    """Whether the value is a list of strings."""
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def text_of(file: Path) -> str:
    """The text of a list; ValueError if it is missing or not UTF-8."""
    try:
        data = sys.stdin.buffer.read() if file == STDIN else file.read_bytes()
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}: check the name of the list") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not text in UTF-8: save it so") from error


def folder_of(file: Path, number: int, base: Path, path: str, allow_outside: bool) -> str:
    """The folder of the results: the recording's, relative to the list's; outside of that its absolute path.

    Raises ValueError for a path outside the list's folder, unless allow_outside.
    """
    absolute = os.path.abspath(base / path)
    inside = os.path.relpath(absolute, os.path.abspath(base))
    if not (inside.startswith("..") or os.path.isabs(inside)):
        return PurePosixPath(Path(inside).parent.as_posix()).as_posix()
    if not allow_outside:
        raise ValueError(
            f"{file} line {number}: {path} lies outside the list's folder: add --allow-outside"
        )
    return Path(*Path(absolute).parent.parts[1:]).as_posix()

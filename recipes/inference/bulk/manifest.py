"""What a bulk run has done: a line of JSON for each recording and query, from which it continues."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from qsep.separation.storage.results import Results

Row = dict[str, Any]
NAME = "manifest.jsonl"


@dataclass(frozen=True)
class Done:
    """What is kept in memory of a row that went well. state: size and time of change of the recording;
    outputs: files, relative to the folder of results, and their sizes."""

    settings: str
    state: tuple[int, int]
    sha256: str
    outputs: tuple[tuple[str, int], ...]


class Manifest:
    """The manifest of a run in its folder of results; runs of other parts of the same work have their own.

    All manifests in the folder count, so that parts may be cut otherwise later. Lines that are damaged, as
    the last one of a run that was killed, count for nothing: their recordings are done again.
    settings: a digest of all that decides the results; rows of other settings do not count as done.
    """

    def __init__(
        self, results: Results, settings: str, shard: tuple[int, int] | None = None
    ) -> None:
        self.results, self.settings = results, settings
        self.name = NAME if shard is None else "manifest-{}-of-{}.jsonl".format(*shard)
        self.continues = False  # whether a run of these settings has begun before
        self._done: dict[tuple[str, str], Done] = {}
        self._owners: dict[str, str] = {}
        for path in sorted(results.folder.glob("manifest*.jsonl")):
            if path.is_file() and not path.is_symlink():
                self._read(path)

    @property
    def path(self) -> Path:
        """Of the manifest that this run writes."""
        return self.results.folder / self.name

    def _read(self, path: Path) -> None:
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    row = json.loads(line)
                    if "run" in row:
                        self.continues |= row["run"]["settings"] == self.settings
                    elif not row.get("error"):
                        self._note(row)
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                    continue

    def _note(self, row: Row) -> None:
        outputs = tuple((str(each["file"]), int(each["bytes"])) for each in row["outputs"])
        state = (int(row["bytes"]), int(row["modified"]))
        done = Done(str(row["settings"]), state, str(row["sha256"]), outputs)
        self._done[str(row["key"]), str(row["query"] or "")] = done
        self._owners.update((name, done.settings) for name, _ in outputs)

    def is_done(self, key: str, query: str, path: Path) -> bool:
        """Whether the recording was separated so, is the same, and all that was made of it is there."""
        done = self._done.get((key, query))
        if done is None or done.settings != self.settings:
            return False
        for name, num_bytes in done.outputs:
            file = self.results.folder / name
            if not file.is_file() or file.stat().st_size != num_bytes:
                return False
        return is_unchanged(path, done)

    def may_replace(self, name: str) -> bool:
        """Whether a file that is there was written by a run of these settings which was interrupted before
        it could say so, or whose recording has changed since."""
        owner = self._owners.get(name, self.settings if self.continues else None)
        return owner == self.settings and self.results.is_ours(name)

    def begin(self, run: Mapping[str, Any]) -> None:
        """Say that a run with these settings starts."""
        self._append([{"run": dict(run) | {"settings": self.settings}}])

    def add(self, rows: Sequence[Row]) -> None:
        """All rows of one recording at once, so that it is done or it is not."""
        self._append(rows)
        for row in rows:
            if not row["error"]:
                self._note(row)

    def _append(self, rows: Iterable[Row]) -> None:
        path = self.results.grow(self.name)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        with path.open("ab+") as file:
            if file.tell() and not ends_with_newline(file):
                text = "\n" + text  # after a line that was cut off
            file.write(text.encode("utf-8"))


def ends_with_newline(file: Any) -> bool:
    """Of a file that is open for reading and not empty."""
    file.seek(-1, 2)
    last: bytes = file.read(1)
    return last == b"\n"


def is_unchanged(path: Path, done: Done) -> bool:
    """By size and time; of a recording that was touched, by its content."""
    try:
        size, modified = state_of(path)
    except OSError:
        return False
    if (size, modified) == done.state:
        return True
    return size == done.state[0] and sha256_of(path) == done.sha256


def state_of(path: Path) -> tuple[int, int]:
    """Size in bytes and time of change in nanoseconds."""
    state = path.stat()
    return state.st_size, state.st_mtime_ns


def sha256_of(path: Path) -> str:
    """Of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def outputs_of(results: Results, folder: str, files: Iterable[Path]) -> list[Row]:
    """What a manifest says of files that `results`, of the run's folder or of one below it, has listed."""
    found = []
    for file in files:
        name = results.name_of(file)
        entry = results.entries[name][-1]
        place = (PurePosixPath(folder) / name).as_posix()
        found.append({"file": place, "bytes": entry.num_bytes, "sha256": entry.sha256})
    return found

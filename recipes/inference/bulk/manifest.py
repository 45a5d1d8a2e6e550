"""Manifests of bulk runs: a line of JSON for each recording and query, from which a run resumes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from qsep.separation.storage.results import Results, append_lines, sha256_of

Row = dict[str, Any]
NAME = "manifest.jsonl"


@dataclass(frozen=True)
class Done:
    """A successful row, as kept in memory. state: the recording's size and modification time.

    outputs: files, relative to the folder of results, and their sizes.
    """

    settings: str
    state: tuple[int, int]
    sha256: str
    outputs: tuple[tuple[str, int], ...]


class Manifest:
    """The manifest of a run, or of a shard, in the folder of results.

    All manifests in the folder are read, so that the number of shards may change. Damaged lines, as the
    last one of a killed run, are ignored: their recordings are separated again. settings: a digest of all
    settings that the results depend on; rows with another one do not count as done.
    """

    def __init__(
        self, results: Results, settings: str, shard: tuple[int, int] | None = None
    ) -> None:
        self.results, self.settings = results, settings
        self.name = NAME if shard is None else "manifest-{}-of-{}.jsonl".format(*shard)
        self.continues = False  # whether a run with these settings was started before
        self._done: dict[tuple[str, str], Done] = {}
        self._owners: dict[str, str] = {}
        for path in sorted(results.folder.glob("manifest*.jsonl")):
            if path.is_file() and not path.is_symlink():
                self._read(path)

    @property
    def path(self) -> Path:
        """The manifest that this run writes."""
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
        """Whether the unchanged recording was separated with these settings and all its results exist."""
        done = self._done.get((key, query))
        if done is None or done.settings != self.settings:
            return False
        for name, num_bytes in done.outputs:
            file = self.results.folder / name
            if not file.is_file() or file.stat().st_size != num_bytes:
                return False
        return is_unchanged(path, done)

    def may_replace(self, name: str) -> bool:
        """Whether an existing file is a result of a run with these settings that may be written again.

        That is, the run was interrupted before it wrote the row, or the recording has changed since.
        """
        owner = self._owners.get(name, self.settings if self.continues else None)
        return owner == self.settings and self.results.is_ours(name)

    def begin(self, run: Mapping[str, Any]) -> None:
        """Write the first line of a run: its settings."""
        self._append([{"run": dict(run) | {"settings": self.settings}}])

    def add(self, rows: Sequence[Row]) -> None:
        """Write all rows of a recording at once, so that it is never half done."""
        self._append(rows)
        for row in rows:
            if not row["error"]:
                self._note(row)

    def _append(self, rows: Iterable[Row]) -> None:
        path = self.results.grow(self.name)
        append_lines(path, "".join(json.dumps(row) + "\n" for row in rows))


def is_unchanged(path: Path, done: Done) -> bool:
    """Whether a recording is unchanged: same size, and same modification time or content."""
    try:
        size, modified = state_of(path)
    except OSError:
        return False
    if (size, modified) == done.state:
        return True
    return size == done.state[0] and sha256_of(path) == done.sha256


def state_of(path: Path) -> tuple[int, int]:
    """Size in bytes and modification time in nanoseconds."""
    state = path.stat()
    return state.st_size, state.st_mtime_ns


def outputs_of(results: Results, folder: str, files: Iterable[Path]) -> list[Row]:
    """The manifest's entries for files in `results`. folder: that of `results`, relative to the run's."""
    outputs = []
    for file in files:
        name = results.name_of(file)
        entry = results.entries[name][-1]
        file_name = (PurePosixPath(folder) / name).as_posix()
        outputs.append({"file": file_name, "bytes": entry.num_bytes, "sha256": entry.sha256})
    return outputs

"""A folder of results: what runs of a command wrote in it, and nothing else, may be replaced.

The folder's listing, .qsep.jsonl, has a line for each file: the command that wrote it, its size and its
SHA-256. A line is there before its file appears under its name, so that no result is ever unlisted, and a
file counts as ours only while its content is the one that is listed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from .temporary import remove_leftovers, visit, write_atomically

log = logging.getLogger("qsep")

LISTING = ".qsep.jsonl"
IGNORED = {
    LISTING,
    ".DS_Store",
    "Thumbs.db",
    "desktop.ini",
}  # what file managers leave is no content


@dataclass(frozen=True)
class Entry:
    """A file as it was written; None for a file that is added to while its run goes on."""

    num_bytes: int | None
    sha256: str | None


GROWING = Entry(None, None)


def is_one_of(path: Path, versions: Sequence[Entry]) -> bool:
    """Whether the file is as it was listed once: a run may have ended before it replaced an older one."""
    if GROWING in versions:
        return True
    num_bytes = path.stat().st_size
    sums = {entry.sha256 for entry in versions if entry.num_bytes == num_bytes}
    return bool(sums) and sha256_of(path) in sums


class Results:
    """The files of one command in one folder. Names are relative to it; threads may share it.

    shared: whether the folder may hold files of others, as the working folder does. Without, a folder
    that holds any file is refused unless an earlier run of the same command listed files in it.
    Raises ValueError, in one line, for what must not be written; nothing is made before the first file.
    """

    def __init__(self, folder: Path, command: str, shared: bool = False) -> None:
        self.folder, self.command = folder, command
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[int, int, int]] = {}  # state of files known to be ours
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder} is a file: give -o a folder")
        if folder.is_dir():
            remove_leftovers(folder)
        listing = folder / LISTING
        if listing.is_symlink():
            raise ValueError(f"{listing} is a symbolic link: remove it, or choose another folder")
        self.entries: dict[str, list[Entry]] = read_listing(listing).get(command, {})
        if not shared and not self.entries and (others := first_content(folder)):
            raise ValueError(
                f"{folder} holds {others}, which no earlier qsep {command} wrote there: "
                "choose a new or an empty folder with -o"
            )

    def is_ours(self, name: str) -> bool:
        """Whether the file is there as an earlier run of this command wrote it."""
        path, versions = self.folder / name, self.entries.get(name)
        if not versions or self._linked(name) or not path.is_file():
            return False
        if self._seen.get(name) == state_of(path):
            return True
        if not is_one_of(path, versions):
            return False
        self._seen[name] = state_of(path)
        return True

    def claim(self, *names: str) -> None:
        """Raise ValueError unless each name is free, or of a file that is ours."""
        for name in names:
            path = self.folder / name
            if link := self._linked(name):
                raise ValueError(
                    f"{link} is a symbolic link, which is not written through: remove it"
                )
            if not path.exists() or self.is_ours(name):
                continue
            if name in self.entries:
                raise ValueError(
                    f"{path} was changed since qsep {self.command} wrote it: move it elsewhere"
                )
            raise ValueError(
                f"{path} is there, and no earlier qsep {self.command} wrote it: move it elsewhere, "
                "or choose another folder with -o"
            )

    def write(self, name: str, write: Callable[[Path], object]) -> Path:
        """Let `write` fill a temporary file; list it, then give it its name, which must be claimable."""
        self.claim(name)
        path = self.folder / name
        write_atomically(path, write, self.commit)
        return path

    def write_text(self, name: str, text: str) -> Path:
        return self.write(name, lambda file: file.write_text(text, "utf-8", newline="\n"))

    def commit(self, temporary: Path, path: Path) -> None:
        """List a finished file as `path` and move it there."""
        name = self.name_of(path)
        self.claim(name)
        with self._lock:
            self._note(name, Entry(temporary.stat().st_size, sha256_of(temporary)))
            os.replace(temporary, path)
            self._seen[name] = state_of(path)

    def grow(self, name: str) -> Path:
        """List a file that is going to be added to, and return its path."""
        self.claim(name)
        path = self.folder / name
        visit(path.parent)
        with self._lock:
            if GROWING not in self.entries.get(name, ()):
                self._note(name, GROWING)
        return path

    def rename(self, name: str, other: str) -> None:
        """Give a file of ours another name of ours; nothing where it is not there."""
        self.claim(name, other)
        path = self.folder / name
        if path.exists():
            with self._lock:
                self._note(other, Entry(path.stat().st_size, sha256_of(path)))
                os.replace(path, self.folder / other)

    def remove(self, names: Iterable[str]) -> None:
        """Delete those of the files that are ours; any other stays."""
        for name in list(names):
            if self.is_ours(name):
                (self.folder / name).unlink()
            with self._lock:
                if name in self.entries:
                    self._note(name, None)

    def name_of(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _linked(self, name: str) -> Path | None:
        """What in the way from the folder to the file is a symbolic link."""
        parts = PurePosixPath(name).parts
        steps = [self.folder.joinpath(*parts[:count]) for count in range(1, len(parts) + 1)]
        return next((step for step in steps if step.is_symlink()), None)

    def _note(self, name: str, entry: Entry | None) -> None:
        visit(self.folder)
        with (self.folder / LISTING).open("a", encoding="utf-8") as file:
            file.write(line_of(self.command, name, entry))
        if entry is None:
            self.entries.pop(name, None)
        else:
            self.entries.setdefault(name, []).append(entry)


def replace_folder(staging: Path, folder: Path, command: str) -> None:
    """Move a finished folder to its name. What it takes the place of must be an earlier one of the same
    command; files in that which are not ours move over, none is lost.

    Raises ValueError where the folder is not ours. An error leaves the one before in its place.
    """
    previous = folder.with_name(f".{folder.name}.previous")
    if folder.is_symlink():
        raise ValueError(f"{folder} is a symbolic link, which is not written through: remove it")
    if previous.exists():  # of a run that was killed between two of the steps below
        if folder.exists():
            clear(previous, folder, command)
        else:
            os.replace(previous, folder)
    Results(folder, command)
    with (staging / LISTING).open("w", encoding="utf-8") as listing:
        for path in files_below(staging):
            name = path.relative_to(staging).as_posix()
            if name != LISTING:
                entry = Entry(path.stat().st_size, sha256_of(path))
                listing.write(line_of(command, name, entry))
    if folder.exists():
        os.replace(folder, previous)
    try:
        os.replace(staging, folder)
    except BaseException:
        if previous.exists():
            os.replace(previous, folder)
        raise
    if previous.exists():
        clear(previous, folder, command)


def clear(previous: Path, folder: Path, command: str) -> None:
    """Delete the files of `previous` that are ours; the others go to `folder`, beside what is there."""
    before = Results(previous, command)
    for path in files_below(previous):
        name = path.relative_to(previous).as_posix()
        if before.is_ours(name) or (name in IGNORED and name != LISTING):
            path.unlink()
        elif name != LISTING:
            target = folder / name
            while os.path.lexists(target):
                target = target.with_name(f"{target.name}.kept")
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
            log.warning("%s was not written by qsep %s: kept as %s", folder / name, command, target)
    (previous / LISTING).unlink(missing_ok=True)
    for path in sorted(previous.rglob("*"), reverse=True):  # folders, the deepest first
        path.rmdir()
    previous.rmdir()


def adopt(folder: Path, command: str) -> None:
    """List all that a folder holds as written by this command: for results of versions before 0.2, which
    kept no listing."""
    with (folder / LISTING).open("a", encoding="utf-8") as listing:
        for path in files_below(folder):
            if path.name not in IGNORED:
                entry = Entry(path.stat().st_size, sha256_of(path))
                listing.write(line_of(command, path.relative_to(folder).as_posix(), entry))


def files_below(folder: Path) -> Iterator[Path]:
    """Files and links, sorted; links to folders are not followed."""
    return iter(
        sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    )


def first_content(folder: Path) -> str:
    """The name of something in the folder, "" if it is empty or not there."""
    if not folder.is_dir():
        return ""
    names = (path.name for path in sorted(folder.iterdir()))
    return next((name for name in names if name not in IGNORED), "")


def read_listing(path: Path) -> dict[str, dict[str, list[Entry]]]:
    """Versions by command and name. Lines that are damaged or name files elsewhere count for nothing."""
    found: dict[str, dict[str, list[Entry]]] = {}
    if not path.is_file():
        return found
    for line in path.read_text("utf-8", errors="replace").splitlines():
        try:
            row: dict[str, Any] = json.loads(line)
            command, name = row["command"], row["file"]
            if not isinstance(command, str) or not is_inside(name):
                continue
            if row.get("removed"):
                found.get(command, {}).pop(name, None)
            else:
                entry = Entry(row["bytes"], row["sha256"])
                found.setdefault(command, {}).setdefault(name, []).append(entry)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
    return found


def is_inside(name: str) -> bool:
    """Whether a relative path stays under its folder."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def line_of(command: str, name: str, entry: Entry | None) -> str:
    row: dict[str, Any] = {"command": command, "file": name}
    if entry is None:
        row["removed"] = True
    else:
        row |= {"bytes": entry.num_bytes, "sha256": entry.sha256}
    return json.dumps(row) + "\n"


def state_of(path: Path) -> tuple[int, int, int]:
    """Changes whenever the file does."""
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

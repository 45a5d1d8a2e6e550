"""Folders of results: a command may replace or delete only the files that it wrote there.

The folder's listing, .qsep.jsonl, has a line for each file: the command that wrote it, its size and its
SHA-256, and the line's own CRC-32. It is written before the file gets its name, so that no result is ever
unlisted; a file counts as ours only while its content matches the listing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from .temporary import is_left_over, remove_leftovers, visit, write_atomically

log = logging.getLogger("qsep")

LISTING = ".qsep.jsonl"
# Files of file managers do not count as content.
IGNORED = {
    LISTING,
    ".DS_Store",
    "Thumbs.db",
    "desktop.ini",
}


@dataclass(frozen=True)
class Entry:
    """Size and SHA-256 of a file as it was written; None for one that grows while its run goes on."""

    num_bytes: int | None
    sha256: str | None


GROWING = Entry(None, None)


def is_one_of(path: Path, versions: Sequence[Entry]) -> bool:
    """Whether the file matches one of its versions: a run may have ended before replacing an older one."""
    if GROWING in versions:
        return True
    num_bytes = path.stat().st_size
    sums = {entry.sha256 for entry in versions if entry.num_bytes == num_bytes}
    return bool(sums) and sha256_of(path) in sums


class Results:
    """The files of one command in one folder; thread-safe. Names are relative to the folder.

    shared: whether the folder may hold other files, as the working folder does. If not, a folder that is
    not empty is refused unless an earlier run of the same command listed files in it.
    Raises ValueError for what must not be written. The folder is created with the first file.
    """

    def __init__(self, folder: Path, command: str, shared: bool = False) -> None:
        self.folder, self.command = folder, command
        self._lock = threading.Lock()
        self._states: dict[str, tuple[int, int, int]] = {}  # of files known to be ours
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
        """Whether the file exists with the content that a run of this command wrote."""
        path, versions = self.folder / name, self.entries.get(name)
        if not versions or self._linked(name) or not path.is_file():
            return False
        if self._states.get(name) == state_of(path):
            return True
        if not is_one_of(path, versions):
            return False
        self._states[name] = state_of(path)
        return True

    def claim(self, *names: str) -> None:
        """Raise ValueError unless each name is free or belongs to a file that is ours."""
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
            if name in read_listing(self.folder / LISTING).get(self.command, {}):
                raise ValueError(
                    f"{path} was written by another qsep {self.command} meanwhile: run one of them at a time"
                )
            raise ValueError(
                f"{path} exists, and no earlier qsep {self.command} wrote it: move it elsewhere, "
                "or choose another folder with -o"
            )

    def write(self, name: str, write: Callable[[Path], object]) -> Path:
        """Write a file atomically: `write` fills a temporary file, which is listed and then renamed.

        Returns its path. Raises ValueError if the name cannot be claimed.
        """
        self.claim(name)
        path = self.folder / name
        write_atomically(path, write, self.commit)
        return path

    def write_text(self, name: str, text: str) -> Path:
        """As `write`, for text in UTF-8."""
        return self.write(name, lambda file: file.write_text(text, "utf-8", newline="\n"))

    def commit(self, temporary: Path, path: Path) -> None:
        """List a finished temporary file as `path` and move it there."""
        self.commit_all([(temporary, path)])

    def commit_all(self, files: Sequence[tuple[Path, Path]]) -> None:
        """List finished temporary files by their paths, then move them there, one right after the other."""
        names = [self.name_of(path) for _, path in files]
        self.claim(*names)
        with self._lock:
            for name, (temporary, _) in zip(names, files, strict=True):
                self._note(name, Entry(temporary.stat().st_size, sha256_of(temporary)))
            for name, (temporary, path) in zip(names, files, strict=True):
                os.replace(temporary, path)
                self._states[name] = state_of(path)

    def grow(self, name: str) -> Path:
        """List a file that will be appended to, and return its path."""
        self.claim(name)
        path = self.folder / name
        visit(path.parent)
        with self._lock:
            if GROWING not in self.entries.get(name, ()):
                self._note(name, GROWING)
        return path

    def rename(self, name: str, other: str) -> None:
        """Rename a file of ours, replacing a file of ours; does nothing if it does not exist."""
        self.claim(name, other)
        path = self.folder / name
        if path.exists():
            with self._lock:
                self._note(other, Entry(path.stat().st_size, sha256_of(path)))
                os.replace(path, self.folder / other)

    def remove(self, names: Iterable[str]) -> None:
        """Delete the files that are ours and keep any others."""
        for name in list(names):
            if self.is_ours(name):
                (self.folder / name).unlink()
            with self._lock:
                if name in self.entries:
                    self._note(name, None)

    def name_of(self, path: Path) -> str:
        """The name of a path in the folder, with forward slashes."""
        return path.relative_to(self.folder).as_posix()

    def _linked(self, name: str) -> Path | None:
        """The first symbolic link on the way from the folder to the file, or None."""
        parts = PurePosixPath(name).parts
        steps = [self.folder.joinpath(*parts[:count]) for count in range(1, len(parts) + 1)]
        return next((step for step in steps if step.is_symlink()), None)

    def _note(self, name: str, entry: Entry | None) -> None:
        visit(self.folder)
        append_lines(self.folder / LISTING, line_of(self.command, name, entry))
        if entry is None:
            self.entries.pop(name, None)
        else:
            self.entries.setdefault(name, []).append(entry)


def replace_folder(staging: Path, folder: Path, command: str) -> None:
    """Move the finished folder `staging` to `folder`, replacing one that the same command wrote earlier.

    Files of others in the earlier folder are moved to the new one. Raises ValueError if the folder is not
    ours. If anything fails, the earlier folder stays in place.
    """
    previous = folder.with_name(f".{folder.name}.previous")
    if folder.is_symlink():
        raise ValueError(f"{folder} is a symbolic link, which is not written through: remove it")
    if previous.exists():  # of a run that was killed between the steps below
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
    """Delete the files of `previous` that are ours, and move the others to `folder`."""
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


def files_below(folder: Path) -> Iterator[Path]:
    """Files and symbolic links below a folder, sorted; links to folders are not followed."""
    return iter(
        sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    )


def first_content(folder: Path) -> str:
    """The first file in it or below, by its name in the folder; "" if it is empty or does not exist.

    Empty folders and left-over temporary files do not count: a run that was killed before it listed its
    first file leaves no more.
    """
    for parent, folders, files in os.walk(folder):
        folders.sort()
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for path in (Path(parent, name) for name in sorted([*files, *links])):
            if path.name not in IGNORED and not is_left_over(path):
                return path.relative_to(folder).as_posix()
    return ""


def read_listing(path: Path) -> dict[str, dict[str, list[Entry]]]:
    """Listed versions by command and file name; damaged lines and names outside the folder are ignored."""
    versions: dict[str, dict[str, list[Entry]]] = {}
    if not path.is_file():
        return versions
    for line in path.read_text("utf-8", errors="replace").splitlines():
        try:
            row: dict[str, Any] = json.loads(line)
            command, name = row["command"], row["file"]
            # Versions before 0.2 wrote no checksum.
            is_damaged = row.pop("crc32", None) not in (None, crc32_of(row))
            if is_damaged or not isinstance(command, str) or not is_inside(name):
                continue
            if row.get("removed"):
                versions.get(command, {}).pop(name, None)
            else:
                entry = Entry(row["bytes"], row["sha256"])
                versions.setdefault(command, {}).setdefault(name, []).append(entry)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
    return versions


def is_inside(name: str) -> bool:
    """Whether a relative path stays inside its folder."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def line_of(command: str, name: str, entry: Entry | None) -> str:
    """A line of the listing; entry: None for a file that was removed."""
    row: dict[str, Any] = {"command": command, "file": name}
    if entry is None:
        row["removed"] = True
    else:
        row |= {"bytes": entry.num_bytes, "sha256": entry.sha256}
    return json.dumps(row | {"crc32": crc32_of(row)}) + "\n"


def crc32_of(row: dict[str, Any]) -> int:
    """Checksum of a line's other values: a flipped bit in a hash would make a whole file look damaged."""
    return zlib.crc32(json.dumps(row).encode("utf-8", "surrogatepass"))


def append_lines(path: Path, text: str) -> None:
    """Append lines to a file; on a new one if the last is incomplete, as after a kill or on a full disk."""
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                text = "\n" + text
        file.write(text.encode("utf-8"))


def state_of(path: Path) -> tuple[int, int, int]:
    """Inode, size and time of change in ns: they differ if the file was replaced or written to."""
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


def sha256_of(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

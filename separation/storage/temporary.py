"""Temporary files: each names its process, so that whoever comes next removes what the dead left."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

STALE_SECONDS = 24 * 3600.0  # of files whose process cannot be asked for: on other machines
NAMED = re.compile(r"\.qsep-(?P<machine>[A-Za-z0-9]+)-(?P<pid>\d+)-(?P<start>\d+)-[0-9a-f]+\.part")
FORMERLY = re.compile(r"\.qsep-\d+-[0-9a-f]+\.part")  # of versions before 0.2, without a machine


@cache
def machine() -> str:
    return re.sub("[^A-Za-z0-9]", "", socket.gethostname())[:24] or "unknown"


def start_of(pid: int) -> int:
    """When a process of this machine began, in ticks since the machine did; 0 where that is not said."""
    try:
        # The second field is the program's name in parentheses, which may hold blanks.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def is_running(pid: int, start: int) -> bool:
    """Whether the process that began at `start` is there; another may have its number by now."""
    if os.name == "nt":  # there os.kill ends the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's, or no number of a process
        pass
    return start in (0, start_of(pid))


def temporary_path(folder: Path) -> Path:
    """A new name in the folder, of a file or a folder to make; see `remove_leftovers`."""
    pid = os.getpid()
    return folder / f".qsep-{machine()}-{pid}-{start_of(pid)}-{secrets.token_hex(4)}.part"


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files of processes that are gone; of other machines', those a day old."""
    for path in folder.glob(".qsep-*.part"):
        with contextlib.suppress(OSError):
            if is_left_over(path):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()


def is_left_over(path: Path) -> bool:
    named = NAMED.fullmatch(path.name)
    if (
        named
        and named["machine"] == machine()
        and not is_running(int(named["pid"]), int(named["start"]))
    ):
        return True
    known = named or FORMERLY.fullmatch(path.name)
    return bool(known) and time.time() - path.lstat().st_mtime > STALE_SECONDS


_visited: set[tuple[int, Path]] = set()


def visit(folder: Path) -> None:
    """Make the folder, and remove what the dead left in it, the first time that this process comes."""
    folder.mkdir(parents=True, exist_ok=True)
    key = os.getpid(), folder.absolute()
    if key not in _visited:
        _visited.add(key)
        remove_leftovers(folder)


@contextlib.contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """A new folder in `parent`, removed at the end if it is still there."""
    visit(parent)
    folder = temporary_path(parent)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_atomically(
    path: Path,
    write: Callable[[Path], object],
    commit: Callable[[Path, Path], object] = os.replace,
) -> None:
    """Let `write` fill a temporary file beside path, then rename: path is whole or as it was.

    commit: what renames. Any error removes the temporary file.
    """
    visit(path.parent)
    temporary = temporary_path(path.parent)
    try:
        write(temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        commit(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise

"""Temporary files and atomic writes.

A temporary file's name contains its process, so that later runs remove those of processes that are gone; but
folders of work that can be continued are kept for a while: see `unfinished`.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

STALE_SECONDS = 24 * 3600.0  # after which files of other machines count as abandoned
KEPT_SECONDS = 7 * 24 * 3600.0  # for which abandoned work can be continued
STATE = "unfinished.json"  # in the folder of such work
NAMED = re.compile(r"\.?qsep-(?P<machine>[A-Za-z0-9]+)-(?P<pid>\d+)-(?P<start>\d+)-[0-9a-f]+\.part")
FORMERLY = re.compile(r"\.qsep-\d+-[0-9a-f]+\.part")  # of versions before 0.2, without a machine


@cache
def machine() -> str:
    """The host name's letters and digits, at most 24."""
    return re.sub("[^A-Za-z0-9]", "", socket.gethostname())[:24] or "unknown"


def start_of(pid: int) -> int:
    """When a process of this machine started, in clock ticks since boot; 0 if unknown."""
    try:
        # The second field is the program's name in parentheses, which may contain spaces.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def is_running(pid: int, start: int) -> bool:
    """Whether the process that started at `start` is alive, and not another with the same id."""
    if os.name == "nt":  # os.kill would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's, or not a valid process id
        pass
    return start in (0, start_of(pid))


def temporary_path(folder: Path, hidden: bool = True) -> Path:
    """A new name in the folder for a temporary file or folder; see `remove_leftovers`."""
    pid, dot = os.getpid(), "." if hidden else ""
    return folder / f"{dot}qsep-{machine()}-{pid}-{start_of(pid)}-{secrets.token_hex(4)}.part"


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files of processes that are gone; those of other machines after STALE_SECONDS."""
    for path in (*folder.glob(".qsep-*.part"), *folder.glob("qsep-*.part")):
        with contextlib.suppress(OSError):
            if is_left_over(path):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()


def is_left_over(path: Path) -> bool:
    """Whether a temporary file or folder is abandoned, and nobody can continue what it holds."""
    return is_abandoned(path) and not is_kept(path)


def is_kept(path: Path) -> bool:
    """Whether it is a folder of unfinished work whose state was saved less than KEPT_SECONDS ago."""
    try:
        is_recent = time.time() - (path / STATE).stat().st_mtime < KEPT_SECONDS
    except OSError:
        return False
    return is_recent and not path.is_symlink()


def is_temporary(path: Path) -> bool:
    """Whether the file, or a folder in which it lies, has a temporary name."""
    return any(NAMED.fullmatch(part) for part in path.parts)


def is_abandoned(path: Path) -> bool:
    """Whether a temporary file's process is gone, or unknown and the file older than STALE_SECONDS."""
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
    """Create the folder; at this process's first visit, also remove left-over temporary files in it."""
    folder.mkdir(parents=True, exist_ok=True)
    key = os.getpid(), folder.absolute()
    if key not in _visited:
        _visited.add(key)
        remove_leftovers(folder)


@contextlib.contextmanager
def temporary_folder(parent: Path, hidden: bool = True) -> Iterator[Path]:
    """A context with a new folder in `parent`, removed at its end unless it was moved."""
    visit(parent)
    folder = temporary_path(parent, hidden)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A context with a new folder among the system's temporary files, which other users cannot read.

    It is removed at the end; those of processes that were killed, at the beginning. It is not hidden, since
    Gradio serves no file of a hidden folder.
    """
    parent = Path(tempfile.gettempdir())
    visit(parent)
    folder = temporary_path(parent, hidden=False)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def explained(path: Path, *errors: type[Exception]) -> Iterator[None]:
    """A context for writing `path` that makes errors of the disk an OSError that names it.

    Libraries raise RuntimeError for them, or one of `errors`; Python an OSError that names a temporary file,
    or none.
    """
    of_libraries: tuple[type[Exception], ...] = (RuntimeError, *errors)
    try:
        yield
    except OSError as error:
        is_of_path = error.filename is None or str(error.filename).endswith(".part")
        if error.errno is None or not is_of_path:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    except of_libraries as error:
        raise OSError(
            f"{path}: cannot be written: free space on the disk, or choose another folder"
        ) from error


def write_atomically(
    path: Path,
    write: Callable[[Path], object],
    commit: Callable[[Path, Path], object] = os.replace,
) -> None:
    """Write a file so that `path` is either complete or unchanged: fill a temporary file, then rename it.

    write: fills the file at the path that it is given. commit: renames it. Any error removes the temporary
    file.
    """
    visit(path.parent)
    temporary = temporary_path(path.parent)
    try:
        with explained(path):
            write(temporary)
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
        commit(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise

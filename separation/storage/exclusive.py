"""One run at a time in a folder of results, by locks that end with their process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_locked: set[int] = set()  # descriptors of this process


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """A context in which no other process is in this context for the same folder; else ValueError.

    The folder is created, and removed at the end if it was and is empty.
    """
    if folder.exists() and not folder.is_dir():
        yield  # whoever writes there refuses it
        return
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with alone_at(folder):
            yield
    finally:
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()


@contextlib.contextmanager
def alone_at(path: Path) -> Iterator[None]:
    """A context in which no other process is in this context for the same file or folder; else ValueError.

    Where the system has no such locks (Windows, some network file systems), every process is let in.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(path, os.O_RDONLY)
    _locked.add(descriptor)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"{path}: another run is at work there: wait for its end, or choose another folder "
                "with -o"
            ) from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        _locked.discard(descriptor)
        os.close(descriptor)


def _release_inherited() -> None:
    """Close a forked process's copies, which would keep the locks of a parent that is killed."""
    for descriptor in _locked:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _locked.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_inherited)

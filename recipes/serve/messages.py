"""Error messages and warnings for clients: one line each, without folders of this machine."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import one_line

log = logging.getLogger("qsep")

# An absolute path, of which the last part stays; a colon before it is a URL's or a drive's.
PATH = re.compile(r"(?<![\w:/.])(?:~|[A-Za-z]:)?[\\/](?:[^\s\\/'\",;]+[\\/])+([^\s\\/'\",;]*)")


def without_folders(text: str, folders: Sequence[Path] = ()) -> str:
    """The text with file names instead of paths. folders: those whose names may contain blanks."""
    for folder in folders:
        text = text.replace(f"{folder}/", "").replace(str(folder), "the server's folder")
    return PATH.sub(r"\1", text)


def message_of(error: Exception, folders: Sequence[Path] = ()) -> str:
    """The message for the client. Of unexpected errors only the type; the log has their traceback."""
    if isinstance(error, (ValueError, OSError, MemoryError)):
        return without_folders(one_line(error), folders)
    log.error("a job failed", exc_info=error)
    return f"something went wrong here ({type(error).__name__}): the server's log says where"


class _Collector(logging.Handler):
    """Keeps the warnings of the thread that made it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.thread, self.messages = threading.get_ident(), list[str]()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self.thread:
            self.messages.append(record.getMessage())


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """A list that collects the warnings of this thread while the block runs."""
    collector = _Collector()
    log.addHandler(collector)
    try:
        yield collector.messages
    finally:
        log.removeHandler(collector)

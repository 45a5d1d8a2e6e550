"""What libmpg123 prints on standard error: libsndfile decodes MP3 by it, and cannot turn that off."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import threading
from collections.abc import Iterator

STDERR = 2  # the descriptor: libmpg123 knows nothing of sys.stderr
MESSAGE = re.compile(rb"\s*(\[.*libmpg123.*|(Note|Warning|Error): .*)?\r?\n?")

_lock = threading.Lock()  # the descriptor is the whole process's


@contextlib.contextmanager
def without_messages() -> Iterator[None]:
    """A context without messages of libmpg123. What other threads print comes at its end.

    Where standard error is closed, or there is nowhere for a temporary file, nothing is held back.
    """
    with _lock, contextlib.ExitStack() as opened:
        try:
            caught = opened.enter_context(tempfile.TemporaryFile())
            kept = os.dup(STDERR)
        except OSError:
            yield
            return
        opened.callback(os.close, kept)
        os.dup2(caught.fileno(), STDERR)
        try:
            yield
        finally:
            os.dup2(kept, STDERR)
            caught.seek(0)
            for line in caught:
                if not MESSAGE.fullmatch(line):
                    os.write(STDERR, line)

"""The signals that end a command."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType

ENDING = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
EXIT_CODES = {128 + number for number in ENDING}  # of commands that they ended


@contextmanager
def ending_sets(stop: Event) -> Iterator[None]:
    """The first of these signals sets `stop` and nothing else; the next one ends the command as usual."""
    before = {number: signal.getsignal(number) for number in ENDING}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()
        restore()

    for number in ENDING:
        signal.signal(number, handle)
    try:
        yield
    finally:
        restore()

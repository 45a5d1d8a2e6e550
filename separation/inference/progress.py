"""How far long work is, said where it is done and heard where somebody waits.

Between the two, whoever cuts the work into parts says which part it is at; nobody else need know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[float], object]
present: ContextVar[Listener | None] = ContextVar("present", default=None)


@contextmanager
def heard_by(listener: Listener | None) -> Iterator[None]:
    """Within, what is said is heard by this."""
    token = present.set(listener)
    try:
        yield
    finally:
        present.reset(token)


@contextmanager
def part(start: float, length: float) -> Iterator[None]:
    """Within, 0 to 1 means start to start + length of what is done outside."""
    outside = present.get()
    with heard_by(None if outside is None else lambda share: outside(start + share * length)):
        yield


def say(done: float) -> None:
    if listener := present.get():
        listener(done)

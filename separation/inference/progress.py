"""Progress reporting through a context variable.

Code that does long work calls `report`; code that splits work into parts wraps each in `part`; whoever wants
to know wraps all of it in `reporting_to`. None of the three needs a reference to another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Callback = Callable[[float], object]
_callback: ContextVar[Callback | None] = ContextVar("callback", default=None)


@contextmanager
def reporting_to(callback: Callback | None) -> Iterator[None]:
    """Within this context, `report` calls the callback; with None it does nothing."""
    token = _callback.set(callback)
    try:
        yield
    finally:
        _callback.reset(token)


@contextmanager
def part(start: float, length: float) -> Iterator[None]:
    """Within this context, reports of 0 to 1 arrive outside as start to start + length."""
    outer = _callback.get()
    with reporting_to(None if outer is None else lambda done: outer(start + done * length)):
        yield


def report(done: float) -> None:
    """Tell the current callback, if there is one, how much of the work is done."""
    if callback := _callback.get():
        callback(done)

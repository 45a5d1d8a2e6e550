"""Paths that lists and manifests name: below the list's folder, unless the user allows others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from .results import is_inside

_allowed: ContextVar[bool] = ContextVar("allowed", default=False)


@contextmanager
def outside_allowed(allowed: bool = True) -> Iterator[None]:
    """A context in which lists may name files elsewhere, by .. or absolute paths: --allow-outside."""
    token = _allowed.set(allowed)
    try:
        yield
    finally:
        _allowed.reset(token)


def check_inside(names: Iterable[str], source: Path | str) -> None:
    """Raise ValueError for the first name that leaves its folder. source: the list, for the message.

    Links in the folder are followed, since only its owner can have made them.
    """
    if _allowed.get():
        return
    for name in names:
        if not is_inside(Path(name).as_posix()):
            raise ValueError(
                f"{source}: {name} is outside its folder: link it there, or add --allow-outside"
            )

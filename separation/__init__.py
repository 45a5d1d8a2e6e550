"""Separating what a query names from a recording."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import Model, Result, load

__all__ = ["Model", "Result", "load"]


def __getattr__(name: str) -> Any:
    """Load the library behind `load` at its first use, so that importing qsep stays quick."""
    if name in __all__:
        from . import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

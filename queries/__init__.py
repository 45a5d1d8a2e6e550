"""Queries: what to separate, given as text, pictures or recordings, and encoders for them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cache import CachedEncoder
    from .interface import (
        AudioQuery,
        Constraints,
        ImageQuery,
        MixedQuery,
        Query,
        QueryEmbedding,
        QueryEncoder,
        Span,
        TextQuery,
    )

# Imported at first use, so that importing the package stays quick.
_EXPORTS = {
    "AudioQuery": ".interface",
    "Constraints": ".interface",
    "ImageQuery": ".interface",
    "MixedQuery": ".interface",
    "Query": ".interface",
    "QueryEmbedding": ".interface",
    "QueryEncoder": ".interface",
    "Span": ".interface",
    "TextQuery": ".interface",
    "CachedEncoder": ".cache",
}
__all__ = [
    "AudioQuery",
    "CachedEncoder",
    "Constraints",
    "ImageQuery",
    "MixedQuery",
    "Query",
    "QueryEmbedding",
    "QueryEncoder",
    "Span",
    "TextQuery",
]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Queries: what to separate, given as text, pictures or recordings, and encoders for them."""

from typing import TYPE_CHECKING

from .lazy import lazy_exports

if TYPE_CHECKING:
    from .cache import CachedEncoder
    from .constraints import Constraints, Span
    from .interface import (
        AudioQuery,
        ImageQuery,
        MixedQuery,
        Query,
        QueryEmbedding,
        QueryEncoder,
        TextQuery,
    )

# Imported at first use, so that importing the package stays quick.
_EXPORTS = {
    "AudioQuery": ".interface",
    "Constraints": ".constraints",
    "ImageQuery": ".interface",
    "MixedQuery": ".interface",
    "Query": ".interface",
    "QueryEmbedding": ".interface",
    "QueryEncoder": ".interface",
    "Span": ".constraints",
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

__getattr__ = lazy_exports(__name__, _EXPORTS)

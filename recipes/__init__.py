"""The `qsep` command, training, data preparation, benchmarks."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .training.config import Recipe, read_recipe
    from .training.loop import train

# Imported at first use, so that importing the package stays quick.
_EXPORTS = {
    "Recipe": ".training.config",
    "read_recipe": ".training.config",
    "train": ".training.loop",
}
__all__ = [
    "Recipe",
    "read_recipe",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import an exported name at its first use (PEP 562)."""
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""The `qsep` command, training, data preparation, benchmarks."""

from typing import TYPE_CHECKING

from qsep.queries.lazy import lazy_exports

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

__getattr__ = lazy_exports(__name__, _EXPORTS)

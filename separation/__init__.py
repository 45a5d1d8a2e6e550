"""Separating what a query names from a recording."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

DEFAULT_MODEL = "sounds150"  # the shipped checkpoint that is used where none is named

if TYPE_CHECKING:
    from .api import Model, Result, load
    from .components import build_encoder, build_separator
    from .interface import LossOutput, MixtureBatch, Separated, Separator
    from .storage.checkpoint import load_checkpoint, save_checkpoint

# Imported at first use, so that importing the package stays quick.
_EXPORTS = {
    "Model": ".api",
    "Result": ".api",
    "load": ".api",
    "LossOutput": ".interface",
    "MixtureBatch": ".interface",
    "Separated": ".interface",
    "Separator": ".interface",
    "build_encoder": ".components",
    "build_separator": ".components",
    "load_checkpoint": ".storage.checkpoint",
    "save_checkpoint": ".storage.checkpoint",
}
__all__ = [
    "DEFAULT_MODEL",
    "LossOutput",
    "MixtureBatch",
    "Model",
    "Result",
    "Separated",
    "Separator",
    "build_encoder",
    "build_separator",
    "load",
    "load_checkpoint",
    "save_checkpoint",
]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

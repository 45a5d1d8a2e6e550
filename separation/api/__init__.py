"""The Python interface: load a model, separate a recording or a file, save the result."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .files import separate_file
    from .loading import CHECKPOINTS_DIR, checkpoint_folder, load, models, shipped_models
    from .model import Familiarity, Model
    from .result import Result

# Imported at first use, so that importing the package stays quick.
_EXPORTS = {
    "CHECKPOINTS_DIR": ".loading",
    "Familiarity": ".model",
    "Model": ".model",
    "Result": ".result",
    "checkpoint_folder": ".loading",
    "load": ".loading",
    "models": ".loading",
    "separate_file": ".files",
    "shipped_models": ".loading",
}
__all__ = [
    "CHECKPOINTS_DIR",
    "Familiarity",
    "Model",
    "Result",
    "checkpoint_folder",
    "load",
    "models",
    "separate_file",
    "shipped_models",
]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

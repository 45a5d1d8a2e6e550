"""The Python interface: load a model, separate a recording or a file, save the result."""

from typing import TYPE_CHECKING

from qsep.queries.lazy import lazy_exports

if TYPE_CHECKING:
    from ..published.finding import checkpoint_folder, models
    from ..storage.shipped import CHECKPOINTS_DIR, shipped_models
    from .comparing import locate, similarities
    from .files import separate_file
    from .loading import load
    from .model import Familiarity, Model
    from .result import Result

# Imported at first use, so that importing the package stays quick.
_EXPORTS = {
    "CHECKPOINTS_DIR": "..storage.shipped",
    "Familiarity": ".model",
    "Model": ".model",
    "Result": ".result",
    "checkpoint_folder": "..published.finding",
    "load": ".loading",
    "locate": ".comparing",
    "models": "..published.finding",
    "separate_file": ".files",
    "shipped_models": "..storage.shipped",
    "similarities": ".comparing",
}
__all__ = [
    "CHECKPOINTS_DIR",
    "Familiarity",
    "Model",
    "Result",
    "checkpoint_folder",
    "load",
    "locate",
    "models",
    "separate_file",
    "shipped_models",
    "similarities",
]

__getattr__ = lazy_exports(__name__, _EXPORTS)

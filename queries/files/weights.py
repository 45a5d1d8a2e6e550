"""Reading weights that others released, without running what a file may hold besides."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

ENVELOPES = ("state_dict", "model")  # around the weights, as Lightning and PANNs have it


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Names of weights with their tensors, from a PyTorch checkpoint or a safetensors file.

    Raises ValueError with one line for a file that is damaged, holds code, or something else.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(numpy_scalars()):
            # Mapped, so that what nobody asks for (optimisers, other networks) takes no memory.
            mapped = zipfile.is_zipfile(path)
            weights = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged ({error}); fetch it again") from error
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except Exception as error:  # in our words: torch's own advise to run what the file holds
        raise ValueError(
            f"{path}: cannot be read as weights alone ({type(error).__name__}); it is damaged, no "
            "PyTorch checkpoint, or holds code, which is never run"
        ) from error
    for envelope in ENVELOPES:
        if isinstance(weights, dict) and isinstance(weights.get(envelope), dict):
            weights = weights[envelope]
    named = isinstance(weights, dict) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in weights.items()
    )
    if not named:
        raise ValueError(f"{path}: no state dict; expected names of weights with their tensors")
    return weights


def numpy_scalars() -> list[Any]:
    """What NumPy's numbers are pickled by: states of optimisers hold some, as in LAION's CLAP."""
    import numpy as np

    scalar = np.float64(0).__reduce__()[0]
    # Before and after NumPy 2.0.
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    types = [type(np.dtype(kind)) for kind in ("f4", "f8", "i8")]
    return [*((scalar, name) for name in names), np.dtype, *types]


class Unfilled(TorchFunctionMode):
    """`with Unfilled():` builds layers without drawing their first parameters, as others will be loaded."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            tensor = kwargs["tensor"] if "tensor" in kwargs else args[0]
            if isinstance(tensor, torch.nn.Parameter):
                return tensor
        return function(*args, **kwargs)


def check_weights(module: torch.nn.Module, weights: dict[str, Tensor], source: str) -> None:
    """Every key, every shape, every number finite; ValueError says what is wrong with the source."""
    for key, value in weights.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f"{source}: weights {key} are not finite; fetch the checkpoint again")
    expected = module.state_dict()
    faults = [f"{key} is missing" for key in expected if key not in weights]
    faults += [f"{key} is not part of it" for key in weights if key not in expected]
    faults += [
        f"{key} is {tuple(weights[key].shape)}, expected {tuple(value.shape)}"
        for key, value in expected.items()
        if key in weights and weights[key].shape != value.shape
    ]
    faults += [
        f"{key} is {weights[key].dtype}, expected {value.dtype}"
        for key, value in expected.items()
        if key in weights and value.is_floating_point() and not weights[key].is_floating_point()
    ]
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise ValueError(f"{source}: weights do not fit the model: {faults[0]}{more}")


def load_weights(module: torch.nn.Module, weights: dict[str, Tensor], source: str) -> None:
    """What check_weights lets pass."""
    check_weights(module, weights, source)
    module.load_state_dict(weights, strict=True)

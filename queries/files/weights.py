"""Reading weights released by others, without executing code in the file."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .int8_kernels import restored_from_int8

PICKLES = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))  # how such files begin
ENVELOPES = ("state_dict", "model")  # keys that contain the weights, in Lightning and PANNs


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file by name, mapped from the file; kernels in 8 bits as float32.

    They are read where its path is not UTF-8, which safetensors does not open. Raises SafetensorError if it
    is damaged.
    """
    from safetensors.torch import load, load_file

    try:
        str(path).encode()
    except UnicodeEncodeError:
        return restored_from_int8(load(path.read_bytes()))
    return restored_from_int8(load_file(path))


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Tensors by name, from a PyTorch checkpoint or a safetensors file.

    Raises ValueError for a file that is missing or damaged, contains code, or is no state dict.
    """
    from safetensors import SafetensorError

    try:
        if path.suffix == ".safetensors":
            return read_tensors(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals(numpy_scalars()):
            warnings.simplefilter("ignore")  # of pickles that it then refuses
            # Memory-mapped, so that unused entries (optimisers, other networks) take no memory.
            mapped = zipfile.is_zipfile(path)
            weights = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged ({error}); fetch it again") from error
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except Exception as error:
        raise ValueError(
            f"{path}: cannot be read as weights alone: {refusal(path, error)}"
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


def refusal(path: Path, error: Exception) -> str:
    """Why a file in PyTorch's format is refused, and what to do; error: raised by torch.load.

    Torch's own messages quote its internals, and advise loading that runs code.
    """
    with path.open("rb") as file:
        start = file.read(2)
    if start not in (b"PK", *PICKLES):
        return "it is no PyTorch checkpoint; give the file of weights as it was released"
    if code := re.search(r"GLOBAL (\S+) (?:was not|whose)", str(error)):
        return (
            f"it holds code, which is never run ({code[1]}); give a file of weights alone, such as a "
            "state dict or safetensors"
        )
    if "Unsupported operand" in str(error) and start in PICKLES:
        return (
            "it is no pickle of torch.save, and may hold code, which is never run; give a file of weights "
            "alone, such as a state dict or safetensors"
        )
    return "it is damaged or cut off; fetch it again"


def numpy_scalars() -> list[Any]:
    """Globals that pickled NumPy scalars need; optimiser states contain some, as in LAION's CLAP."""
    import numpy as np

    scalar = np.float64(0).__reduce__()[0]
    # Their names before and after NumPy 2.0.
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    types = [type(np.dtype(kind)) for kind in ("f4", "f8", "i8")]
    return [*((scalar, name) for name in names), np.dtype, *types]


class Unfilled(TorchFunctionMode):
    """A context in which layers are built without initialising parameters, for weights loaded afterwards."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            tensor = kwargs["tensor"] if "tensor" in kwargs else args[0]
            if isinstance(tensor, torch.nn.Parameter):
                return tensor
        return function(*args, **kwargs)


def check_weights(
    module: torch.nn.Module,
    weights: dict[str, Tensor],
    source: str,
    stored_name: Callable[[str], str] = str,
) -> None:
    """Raise ValueError unless keys, shapes and kinds of numbers match the module and all are finite.

    For the message: source, the file or folder; stored_name, the name of a weight there.
    """
    for key, value in weights.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(
                f"{source}: weights {stored_name(key)} are not finite; fetch the checkpoint again"
            )
    expected = module.state_dict()
    faults = [f"{stored_name(key)} is missing" for key in expected if key not in weights]
    faults += [f"{stored_name(key)} is not part of it" for key in weights if key not in expected]
    faults += [
        f"{stored_name(key)} is {tuple(weights[key].shape)}, expected {tuple(value.shape)}"
        for key, value in expected.items()
        if key in weights and weights[key].shape != value.shape
    ]
    faults += [
        f"{stored_name(key)} is {weights[key].dtype}, expected {value.dtype}"
        for key, value in expected.items()
        if key in weights and value.is_floating_point() and not weights[key].is_floating_point()
    ]
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise ValueError(f"{source}: weights do not fit the model: {faults[0]}{more}")


def load_weights(
    module: torch.nn.Module,
    weights: dict[str, Tensor],
    source: str,
    stored_name: Callable[[str], str] = str,
) -> None:
    """Load weights strictly, after `check_weights`."""
    check_weights(module, weights, source, stored_name)
    module.load_state_dict(weights, strict=True)

"""The arrays of a safetensors file, by NumPy alone: what separates without PyTorch reads its weights so.

The format (https://huggingface.co/docs/safetensors): eight bytes with the header's length; the header, which
is JSON with type, shape and place of each tensor; the tensors' bytes one after another, little-endian.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LENGTH_BYTES = 8
TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Arrays by name, mapped from the file and not writable: what is not used takes no memory.

    Raises ValueError, in one line, for a file that is missing, damaged, or has numbers that NumPy lacks.
    """
    try:
        content = np.memmap(path, np.uint8, "r")
    except FileNotFoundError:
        raise missing(path) from None
    except ValueError as error:  # an empty file
        raise damaged(path, str(error)) from None
    try:
        return arrays_in(content)
    except ValueError as error:
        raise damaged(path, str(error)) from None
    except (KeyError, TypeError, RecursionError):
        raise damaged(path, "its header is not in the format") from None


def arrays_in(content: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """Views of the content of a file.

    Raises ValueError, KeyError, TypeError or RecursionError if it is not in the format.
    """
    start = LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES].tobytes(), "little")
    if start > len(content):
        raise ValueError("its header is cut off")
    header: dict[str, Any] = json.loads(content[LENGTH_BYTES:start].tobytes())
    if not isinstance(header, dict):
        raise ValueError("its header is not in the format")
    header.pop("__metadata__", None)
    arrays, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        first, last = entry["data_offsets"]
        if first != end:  # neither gaps nor overlaps
            raise ValueError(f"{name} begins at {first} instead of {end}")
        if entry["dtype"] not in TYPES:
            raise ValueError(f"{name} has numbers of the type {entry['dtype']}")
        kind = np.dtype(TYPES[entry["dtype"]])
        shape = tuple(entry["shape"])
        end = first + math.prod(shape) * kind.itemsize
        if last != end or min(shape, default=0) < 0:
            raise ValueError(f"{name} does not have the size of its shape")
        if start + end > len(content):
            raise ValueError(f"{name} is cut off")
        arrays[name] = content[start + first : start + last].view(kind).reshape(shape)
    if start + end != len(content):
        raise ValueError("more bytes than its header says")
    return arrays


def missing(path: Path) -> ValueError:
    """The error for a file of a checkpoint that is not there."""
    return ValueError(f"{path}: missing; fetch the checkpoint again")


def damaged(path: Path, reason: str) -> ValueError:
    """The error for a file that is not as it was written."""
    return ValueError(f"{path}: damaged ({reason}); fetch the checkpoint again")

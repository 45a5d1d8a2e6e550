"""Kernels stored in 8 bits: a quarter of float32's size, half of float16's.

A kernel `name` of n rows (of a matrix the outputs; of a convolution the output channels, of a transposed one
the input channels) is stored as integers in [-127, 127] and, as `name.row_scale`, n float32 numbers by which
its rows are multiplied when it is read. Rounding changes a weight by at most 1/254 of its row's largest.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

LARGEST = 127
ROW_SCALE = ".row_scale"
MIN_ROW = 32  # of numbers: the scale of a shorter row would outweigh much of what is saved


def rounded_to_int8(name: str, kernel: Tensor) -> dict[str, Tensor]:
    """What is stored for a kernel (n, …) of floating-point numbers: its integers and scales, or float16 for
    short rows. Scales are not finite where the kernel is not."""
    import torch

    if math.prod(kernel.shape[1:]) < MIN_ROW:
        return {name: kernel.half()}
    rows = kernel.detach().float().flatten(1)
    scale = rows.abs().amax(dim=1) / LARGEST
    integers = (rows / scale.clamp_min(torch.finfo().tiny)[:, None]).round()
    return {name: integers.to(torch.int8).view(kernel.shape), name + ROW_SCALE: scale}


def restored_from_int8(stored: dict[str, Any]) -> dict[str, Any]:
    """The tensors or NumPy arrays of a file by name, with kernels as float32 in place of integers and scales.

    Scales that do not fit a kernel stay, as a weight that no model has.
    """
    weights = dict(stored)
    for name, kernel in stored.items():
        scale = stored.get(name + ROW_SCALE)
        if scale is not None and kernel.shape[:1] == scale.shape:
            weights[name] = kernel * scale.reshape(-1, *(1,) * (kernel.ndim - 1))
            del weights[name + ROW_SCALE]
    return weights

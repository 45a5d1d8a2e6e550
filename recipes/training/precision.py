"""The number format that a run computes in."""

from __future__ import annotations

import torch

from qsep.separation.api.loading import choose_device

from .config import AUTO


def precision_on(accelerator: str, precision: str) -> str:
    """Lightning Fabric's name of a recipe's precision on an accelerator: auto, cpu, cuda, gpu or mps.

    "auto" is "bf16-mixed" where the device computes in bfloat16, else "32-true": a CPU without instructions
    for it takes tens of times as long.
    """
    if precision != AUTO:
        return precision
    device = choose_device({"gpu": "cuda"}.get(accelerator, accelerator)).type
    return "bf16-mixed" if has_bfloat16(device) else "32-true"


def has_bfloat16(device: str) -> bool:
    """Whether a type of device has instructions for bfloat16."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False

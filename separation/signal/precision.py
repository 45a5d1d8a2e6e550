"""Float32 arithmetic inside mixed-precision training."""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(like: Tensor) -> torch.autocast:
    """Context without autocast: energies and queries need float32's range and digits even where the
    network runs in bfloat16. like: a tensor on the device in question."""
    return torch.autocast(like.device.type, enabled=False)

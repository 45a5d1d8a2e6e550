"""Float32 arithmetic inside mixed-precision training."""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(like: Tensor) -> torch.autocast:
    """Energies and queries need float32's range and digits also where the U-Net runs in bfloat16."""
    return torch.autocast(like.device.type, enabled=False)

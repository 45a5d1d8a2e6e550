"""What a causal network keeps of earlier frames, so that a stream of blocks equals one long block."""

from __future__ import annotations

from collections.abc import Hashable

import torch
import torch.nn.functional as F
from torch import Tensor


class Past:
    """The last frames at each point of a network, which are zeros before the first block.

    The key of a point is whatever identifies it, such as the layer or a name. Frames are the last axis.
    """

    def __init__(self) -> None:
        self._frames: dict[Hashable, Tensor] = {}
        self._counts: dict[Hashable, int] = {}

    def seen(self, key: Hashable) -> int:
        """How many frames have come by so far."""
        return self._counts.get(key, 0)

    def count(self, key: Hashable, num: int) -> int:
        """Count num more frames; returns how many there were before."""
        before = self.seen(key)
        self._counts[key] = before + num
        return before

    def extended(self, key: Hashable, frames: Tensor, num_kept: int) -> Tensor:
        """The next frames (..., n) with the num_kept before them, (..., num_kept + n).

        num_kept: always the same for one key.
        """
        before = self._frames.get(key)
        if before is None:
            whole = F.pad(
                frames, (num_kept, 0)
            )  # keeps the memory format, whose change costs a copy
        else:
            whole = torch.cat([before, frames], dim=-1)
        self._frames[key] = whole[..., whole.shape[-1] - num_kept :]
        self.count(key, frames.shape[-1])
        return whole


def recent_mean(values: Tensor, num_frames: int, key: Hashable, past: Past) -> Tensor:
    """Mean over the last num_frames frames, each frame itself included, of as many as there are:
    (b, d, n) to (b, d, n)."""
    new = values.shape[-1]
    first = past.seen(key) + 1
    whole = past.extended(key, values, num_frames - 1)
    if not new:
        return values
    counts = torch.arange(first, first + new, device=values.device).clamp(max=num_frames)
    return F.avg_pool1d(whole, num_frames, 1) * (num_frames / counts).to(values)

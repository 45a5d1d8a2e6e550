"""What a causal network keeps of earlier frames, so that a stream of blocks equals one long block."""

from __future__ import annotations

from collections.abc import Hashable

import torch
import torch.nn.functional as F
from torch import Tensor


class Past:
    """The last frames of each place of a network, which are zeros before the first block.

    A place is whatever identifies it, such as the layer or a name. Frames are the last axis.
    """

    def __init__(self) -> None:
        self._frames: dict[Hashable, Tensor] = {}
        self._counts: dict[Hashable, int] = {}

    def seen(self, place: Hashable) -> int:
        """How many frames have come to a place so far."""
        return self._counts.get(place, 0)

    def count(self, place: Hashable, num: int) -> int:
        """Count num more frames of a place; returns how many there were before."""
        before = self.seen(place)
        self._counts[place] = before + num
        return before

    def extended(self, place: Hashable, frames: Tensor, num_kept: int) -> Tensor:
        """The next frames (..., n) of a place after the num_kept before them, (..., num_kept + n).

        num_kept: always the same for one place.
        """
        before = self._frames.get(place)
        if before is None:
            before = frames.new_zeros(*frames.shape[:-1], num_kept)
        whole = torch.cat([before, frames], dim=-1)
        self._frames[place] = whole[..., whole.shape[-1] - num_kept :]
        self.count(place, frames.shape[-1])
        return whole


def recent_mean(values: Tensor, num_frames: int, place: Hashable, past: Past) -> Tensor:
    """Mean over the last num_frames frames, each frame itself included, of as many as there are:
    (b, d, n) to (b, d, n)."""
    new = values.shape[-1]
    first = past.seen(place) + 1
    whole = past.extended(place, values, num_frames - 1)
    if not new:
        return values
    counts = torch.arange(first, first + new, device=values.device).clamp(max=num_frames)
    return F.avg_pool1d(whole, num_frames, 1) * (num_frames / counts).to(values)

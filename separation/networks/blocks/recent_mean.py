"""A mean over the last frames of a stream."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class RecentMean:
    """Mean over the last num_frames frames, each frame itself included, of as many as there are.

    A recording may come in any number of blocks.
    """

    def __init__(self, num_frames: int) -> None:
        self.num_frames, self._num_seen = num_frames, 0
        self._latest: Tensor | None = None  # the frames before the next, zeros before the first

    def __call__(self, values: Tensor) -> Tensor:
        """The next frames (b, d, n) to their means, (b, d, n)."""
        num_new = values.shape[-1]
        if not num_new:
            return values
        if self._latest is None:
            whole = F.pad(values, (self.num_frames - 1, 0))
        else:
            whole = torch.cat([self._latest, values], dim=-1)
        self._latest = whole[..., num_new:]
        means = F.avg_pool1d(whole, self.num_frames, 1)
        first = self._num_seen + 1
        self._num_seen += num_new
        if first >= self.num_frames:
            return means
        counts = torch.arange(first, first + num_new, device=values.device)
        return means * (self.num_frames / counts.clamp(max=self.num_frames)).to(values)

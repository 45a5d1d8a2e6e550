"""The slowly varying mean of a waveform, as recorders with a DC offset add to all that they record."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

POOL_HOPS = 12  # each side, twice, and one more by interpolation:
REACH_HOPS = 2 * POOL_HOPS + 1  # a sample's offset depends on no hop farther away
MIN_SHARE = 1e-3  # of the power around, at which half of a mean counts as an offset
MIN_COVERED = 0.47  # of the hops around; at the ends of a recording 0.48 are there
TINY = 1e-30


def without_offset(waveform: Tensor, hop_samples: int) -> Tensor:
    """waveform (..., t), t >= 1, less its mean around each sample where that holds power; any scale.

    A constant becomes zero, at the ends too, except in recordings of less than 12 hops. What has no offset
    stays: of hops of 20 ms, white noise changes by less than 1e-3 of itself, tones from 10 Hz on not at all.
    """
    num_samples = waveform.shape[-1]
    flat = waveform.reshape(-1, 1, num_samples)
    padding = 0, -num_samples % hop_samples
    covered = pooled(F.pad(torch.ones_like(flat[:1]), padding), hop_samples)
    mean = smooth(pooled(F.pad(flat, padding), hop_samples) / covered)
    power = smooth(pooled(F.pad(flat.square(), padding), hop_samples) / covered)
    share = mean.square() / power.clamp_min(TINY)
    counts = share.square() / (share.square() + MIN_SHARE**2) * (covered > MIN_COVERED)
    offset = F.interpolate(mean * counts, scale_factor=float(hop_samples), mode="linear")
    return (flat - offset[..., :num_samples]).reshape(waveform.shape)


def pooled(waveform: Tensor, hop_samples: int) -> Tensor:
    """Mean over the hops around each hop, with zeros beyond the ends: (b, 1, t), whole hops, to (b, 1, n)."""
    hops = waveform.unflatten(-1, (-1, hop_samples)).mean(dim=-1)
    return F.avg_pool1d(hops, 2 * POOL_HOPS + 1, 1, POOL_HOPS)


def smooth(hops: Tensor) -> Tensor:
    """Mean over the hops around each hop, fewer at the ends: (b, 1, n) to the same."""
    return F.avg_pool1d(hops, 2 * POOL_HOPS + 1, 1, POOL_HOPS, count_include_pad=False)

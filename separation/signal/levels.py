"""The level of a long recording as it changes, so that any part of it can be brought to one level."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Levels:
    """offset: (..., c, t), the waveform's local mean; peak: (..., 1, t), its local peak around that."""

    offset: Tensor
    peak: Tensor


def levels(waveform: Tensor, cell_samples: int) -> Levels:
    """waveform: (..., c, t), t >= 1. Straight lines from one cell's border to the next, which know nothing
    of samples beyond the neighbouring cells.

    A border's mean is the mean of its two cells', its peak the higher of theirs, so that no line between
    two is too low. A waveform of one cell has one mean and one peak. Channels share the peak: their
    balance stays.
    """
    num_samples = waveform.shape[-1]
    padding = -num_samples % cell_samples
    cells = F.pad(waveform, (0, padding)).unflatten(-1, (-1, cell_samples))
    is_real = torch.arange(num_samples + padding, device=waveform.device) < num_samples
    is_real = is_real.unflatten(-1, (-1, cell_samples))
    means = cells.sum(dim=-1) / is_real.sum(dim=-1)
    around = torch.where(is_real, cells - means[..., None], 0).abs()
    peaks = around.amax(dim=(-3, -1))[..., None, :]
    before, after = means[..., :-1], means[..., 1:]
    offsets = torch.cat([means[..., :1], (before + after) / 2, means[..., -1:]], dim=-1)
    before, after = peaks[..., :-1], peaks[..., 1:]
    highest = torch.cat([peaks[..., :1], torch.maximum(before, after), peaks[..., -1:]], dim=-1)
    return Levels(
        lines(offsets, cell_samples)[..., :num_samples],
        lines(highest, cell_samples)[..., :num_samples],
    )


def lines(borders: Tensor, cell_samples: int) -> Tensor:
    """Values at borders (..., k + 1) to (..., k * cell_samples), linear between."""
    ramp = torch.arange(cell_samples, device=borders.device) / cell_samples
    steps = borders[..., 1:] - borders[..., :-1]
    return (borders[..., :-1, None] + steps[..., None] * ramp).flatten(-2)

"""A slowly varying level for long recordings, so that every part of one is brought to the same level."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Levels:
    """offset: (..., c, t), local mean of the waveform; peak: (..., 1, t), local peak of what is left
    without it."""

    offset: Tensor
    peak: Tensor


def levels(waveform: Tensor, cell_samples: int) -> Levels:
    """Local mean and peak of a waveform (..., c, t), t >= 1: piecewise linear between the borders of
    cells.

    The mean at a border is the mean of the two cells' means, the peak the larger of their peaks, so
    that a line never lies under the peaks of its cell. A value depends on no sample beyond the
    neighbouring cells. A waveform of one cell has one mean and one peak. Channels share the peak, so
    that their balance stays.
    """
    num_samples = waveform.shape[-1]
    padding = -num_samples % cell_samples
    cells = F.pad(waveform, (0, padding)).unflatten(-1, (-1, cell_samples))
    is_real = torch.arange(num_samples + padding, device=waveform.device) < num_samples
    is_real = is_real.unflatten(-1, (-1, cell_samples))
    means = cells.sum(dim=-1) / is_real.sum(dim=-1)
    centred = torch.where(is_real, cells - means[..., None], 0).abs()
    peaks = centred.amax(dim=(-3, -1))[..., None, :]
    before, after = means[..., :-1], means[..., 1:]
    offsets = torch.cat([means[..., :1], (before + after) / 2, means[..., -1:]], dim=-1)
    before, after = peaks[..., :-1], peaks[..., 1:]
    highest = torch.cat([peaks[..., :1], torch.maximum(before, after), peaks[..., -1:]], dim=-1)
    return Levels(
        lines(offsets, cell_samples)[..., :num_samples],
        lines(highest, cell_samples)[..., :num_samples],
    )


def lines(borders: Tensor, cell_samples: int) -> Tensor:
    """Linear interpolation: values at the borders of cells (..., k + 1) to (..., k * cell_samples)."""
    ramp = torch.arange(cell_samples, device=borders.device) / cell_samples
    steps = borders[..., 1:] - borders[..., :-1]
    return (borders[..., :-1, None] + steps[..., None] * ramp).flatten(-2)

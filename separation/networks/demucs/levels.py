"""Encoder and decoder levels of Hybrid Demucs' U-Nets, along frequency or along time.

Défossez, "Hybrid spectrogram and waveform source separation" (arXiv 2111.03600), sec. 3.1 and 3.3
(compressed residual branches). Weights have the released models' names.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Number of residual branches, and how many times fewer channels they have.
Branches = tuple[int, int]


class LayerScale(nn.Module):
    """Channels times learned factors that start small. last: channels are the last axis."""

    def __init__(self, channels: int, start: float, last: bool = False) -> None:
        super().__init__()
        self.last = last
        self.scale = nn.Parameter(torch.full((channels,), start))

    def forward(self, rows: Tensor) -> Tensor:
        """(b, d, n), or (b, n, d) with `last`, to the same shape."""
        return rows * (self.scale if self.last else self.scale[:, None])


class DilatedBranches(nn.Module):
    """Residual branches with few channels, each with twice the dilation of the one before."""

    def __init__(self, channels: int, depth: int, compress: int) -> None:
        super().__init__()
        hidden = max(1, channels // compress)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(channels, hidden, 3, dilation=2**level, padding=2**level),
                nn.GroupNorm(1, hidden),
                nn.GELU(),
                nn.Conv1d(hidden, 2 * channels, 1),
                nn.GroupNorm(1, 2 * channels),
                nn.GLU(dim=1),
                LayerScale(channels, 1e-3),
            )
            for level in range(depth)
        )

    def forward(self, rows: Tensor) -> Tensor:
        """(b, d, n) to (b, d, n)."""
        for layer in self.layers:
            rows = rows + layer(rows)
        return rows

    def over_bins(self, grid: Tensor) -> Tensor:
        """As `forward`, along the frames of each bin: (b, d, f, n) to (b, d, f, n)."""
        rows: Tensor = self(grid.transpose(1, 2).flatten(0, 1))
        return rows.unflatten(0, (len(grid), -1)).transpose(1, 2)


class Encoder(nn.Module):
    """Strided convolution, residual branches, and a gated linear unit. over_bins: along frequency,
    otherwise along time."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int,
        branches: Branches,
        over_bins: bool,
    ) -> None:
        super().__init__()
        self.over_bins, self.stride = over_bins, stride
        padding = kernel // 4
        if over_bins:
            self.conv: nn.Module = nn.Conv2d(
                inputs, outputs, (kernel, 1), (stride, 1), (padding, 0)
            )
            self.rewrite: nn.Module = nn.Conv2d(outputs, 2 * outputs, 1)
        else:
            self.conv = nn.Conv1d(inputs, outputs, kernel, stride, padding)
            self.rewrite = nn.Conv1d(outputs, 2 * outputs, 1)
        self.dconv = DilatedBranches(outputs, *branches)

    def forward(self, hidden: Tensor) -> Tensor:
        """(b, i, f, n) to (b, o, f / stride, n), or (b, i, t) to (b, o, ceil(t / stride))."""
        if not self.over_bins:
            hidden = F.pad(hidden, (0, -hidden.shape[-1] % self.stride))
        down = F.gelu(self.conv(hidden))
        down = self.dconv.over_bins(down) if self.over_bins else self.dconv(down)
        return F.glu(self.rewrite(down), dim=1)


class Decoder(nn.Module):
    """Inverse of `Encoder`: skip connection added, gated linear unit, residual branches, transposed
    convolution. last: outermost level, without activation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int,
        branches: Branches | None,
        over_bins: bool,
        last: bool,
    ) -> None:
        super().__init__()
        self.over_bins, self.last, self.padding = over_bins, last, kernel // 4
        if over_bins:
            self.conv_tr: nn.Module = nn.ConvTranspose2d(inputs, outputs, (kernel, 1), (stride, 1))
            self.rewrite: nn.Module = nn.Conv2d(inputs, 2 * inputs, 3, padding=1)
        else:
            self.conv_tr = nn.ConvTranspose1d(inputs, outputs, kernel, stride)
            self.rewrite = nn.Conv1d(inputs, 2 * inputs, 3, padding=1)
        self.dconv = DilatedBranches(inputs, *branches) if branches else None

    def forward(self, hidden: Tensor, skip: Tensor, length: int | None) -> Tensor:
        """hidden and skip of one shape, (b, i, f, n) to (b, o, f stride, n), or (b, i, m) to
        (b, o, length)."""
        hidden = F.glu(self.rewrite(hidden + skip), dim=1)
        if self.dconv is not None:
            hidden = self.dconv.over_bins(hidden) if self.over_bins else self.dconv(hidden)
        up: Tensor = self.conv_tr(hidden)
        if self.over_bins:
            up = up[:, :, self.padding : up.shape[2] - self.padding]
        else:
            assert length is not None
            up = up[..., self.padding : self.padding + length]
        return up if self.last else F.gelu(up)

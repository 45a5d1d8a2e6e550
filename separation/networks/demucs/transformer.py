"""The cross-domain transformer of Hybrid Transformer Demucs.

Rouard, Massa and Défossez (arXiv 2211.08553), sec. 3.1: layers alternate between self-attention within
each branch and cross-attention between the two. Weights have the released models' names.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .levels import LayerScale

MAX_PERIOD = 10000.0
SCALE = 1e-4  # initial value of the layer scales


class CrossTransformer(nn.Module):
    """Transformer over both branches' lowest levels. ValueError unless the channels divide by num_heads
    and by 4."""

    def __init__(self, channels: int, num_layers: int, num_heads: int, factor: int) -> None:
        super().__init__()
        if channels % num_heads or channels % 4:
            raise ValueError(
                f"{channels} channels of the transformer must divide by {num_heads} heads and by 4"
            )
        self.norm_in, self.norm_in_t = nn.LayerNorm(channels), nn.LayerNorm(channels)
        shape = (channels, num_heads, factor * channels)
        self.layers, self.layers_t = (
            nn.ModuleList(
                CrossLayer(*shape) if number % 2 else SelfLayer(*shape)
                for number in range(num_layers)
            )
            for _ in range(2)
        )

    def forward(self, bins: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Features of the spectrum (b, d, f, n) and of the waveform (b, d, m) to the same shapes."""
        _, channels, num_bins, num_frames = bins.shape
        rows = self.norm_in(bins.permute(0, 3, 2, 1).flatten(1, 2))  # frame after frame
        rows = rows + grid_positions(channels, num_bins, num_frames).to(rows)
        rows_t = self.norm_in_t(samples.transpose(1, 2))
        rows_t = rows_t + positions(channels, samples.shape[-1]).to(rows_t)
        for number, (layer, layer_t) in enumerate(zip(self.layers, self.layers_t, strict=True)):
            if number % 2:
                rows, rows_t = layer(rows, rows_t), layer_t(rows_t, rows)
            else:
                rows, rows_t = layer(rows), layer_t(rows_t)
        grid = rows.unflatten(1, (num_frames, num_bins)).permute(0, 3, 2, 1)
        return grid, rows_t.transpose(1, 2)


class SelfLayer(nn.Module):
    """Self-attention and a feed-forward part, each after a norm and with a scaled residual, then a
    group norm."""

    def __init__(self, channels: int, num_heads: int, inner: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(channels, num_heads, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(channels, inner), nn.Linear(inner, channels)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.norm_out = nn.GroupNorm(1, channels)
        self.gamma_1 = LayerScale(channels, SCALE, last=True)
        self.gamma_2 = LayerScale(channels, SCALE, last=True)

    def forward(self, rows: Tensor) -> Tensor:
        """(b, l, d) to (b, l, d)."""
        normed = self.norm1(rows)
        rows = rows + self.gamma_1(self.self_attn(normed, normed, normed, need_weights=False)[0])
        rows = rows + self.gamma_2(self.linear2(F.gelu(self.linear1(self.norm2(rows)))))
        normed = self.norm_out(rows.transpose(1, 2)).transpose(1, 2)
        return normed


class CrossLayer(nn.Module):
    """As SelfLayer, with attention to the other branch."""

    def __init__(self, channels: int, num_heads: int, inner: int) -> None:
        super().__init__()
        self.cross_attn = nn.MultiheadAttention(channels, num_heads, batch_first=True)
        self.linear1, self.linear2 = nn.Linear(channels, inner), nn.Linear(inner, channels)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.norm3, self.norm_out = nn.LayerNorm(channels), nn.GroupNorm(1, channels)
        self.gamma_1 = LayerScale(channels, SCALE, last=True)
        self.gamma_2 = LayerScale(channels, SCALE, last=True)

    def forward(self, rows: Tensor, others: Tensor) -> Tensor:
        """rows (b, l, d), and others (b, l', d) to attend to; (b, l, d)."""
        normed_others = self.norm2(others)
        attended = self.cross_attn(
            self.norm1(rows), normed_others, normed_others, need_weights=False
        )[0]
        rows = rows + self.gamma_1(attended)
        rows = rows + self.gamma_2(self.linear2(F.gelu(self.linear1(self.norm3(rows)))))
        normed: Tensor = self.norm_out(rows.transpose(1, 2)).transpose(1, 2)
        return normed


def positions(channels: int, length: int) -> Tensor:
    """Position encodings of the waveform's steps: cosines, then sines, of periods up to MAX_PERIOD.
    (length, d), float64."""
    half = channels // 2
    periods = MAX_PERIOD ** (torch.arange(half, dtype=torch.float64) / (half - 1))
    phases = torch.arange(length, dtype=torch.float64)[:, None] / periods
    return torch.cat([phases.cos(), phases.sin()], dim=1)


def grid_positions(channels: int, num_bins: int, num_frames: int) -> Tensor:
    """Position encodings of the spectrum: half of the channels encode the frame and half the bin, by
    alternating sines and cosines. (num_frames num_bins, d), frame after frame, float64."""
    half = channels // 2
    steps = torch.arange(0, half, 2, dtype=torch.float64)
    rates = MAX_PERIOD ** (-steps / half)

    def waves(length: int) -> Tensor:
        phases = torch.arange(length, dtype=torch.float64)[:, None] * rates
        return torch.stack([phases.sin(), phases.cos()], dim=-1).flatten(1)

    frames = waves(num_frames)[:, None].expand(-1, num_bins, -1)
    bins = waves(num_bins)[None].expand(num_frames, -1, -1)
    return torch.cat([frames, bins], dim=-1).flatten(0, 1)

"""TIGER: blocks with shared weights that look along frequency and along time, at several scales.

Xu, Li, Chen and Hu, "TIGER: time-frequency interleaved gain extraction and reconstruction for efficient
speech separation", ICLR 2025 (arXiv 2410.01469), sec. 3.3. Between `analyses/bands.py` ("tiger", readout
"linear") and a complex mask whose outputs sum to one. Where the released code takes a finer level for the
coarsest in the last fusion (sec. 3.3.1), this has what the paper draws; dropout is left out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.settings import configuration

from ..composition import Inject


@configuration
class Config:
    """num_iterations B of the one block: 4 (small) or 8 (large). hidden_channels H inside the multi-scale
    part, of num_levels D; num_heads of attention, whose keys have key_channels E."""

    num_iterations: int = 8
    hidden_channels: int = 256
    num_levels: int = 5
    num_heads: int = 4
    key_channels: int = 4


def build(config: Config, channels: int, num_bands: int, num_maps: int, causal: bool) -> Tiger:
    if causal:
        raise ValueError("TIGER is not causal: its attention and norms see all frames")
    return Tiger(config, channels)


class Tiger(nn.Module):
    """(b, d, k, n) to the same (sec. 3.3, "separator"); the query comes before each iteration."""

    complete = False

    def __init__(self, config: Config, channels: int) -> None:
        super().__init__()
        self.width, self.sites = channels, (channels,)  # one, for iterations share their weights
        self.num_iterations = config.num_iterations
        self.along_bands, self.along_frames = Path(config, channels), Path(config, channels)
        self.merge = nn.Sequential(nn.Conv2d(channels, channels, 1, groups=channels), nn.PReLU())

    def forward(self, features: Tensor, inject: Inject) -> Tensor:
        hidden = features
        for iteration in range(self.num_iterations):
            if iteration:
                hidden = self.merge(features + hidden)
            hidden = inject(0, hidden)
            # A path works along the last axis.
            hidden = self.along_bands(hidden.transpose(2, 3)).transpose(2, 3)
            hidden = self.along_frames(hidden)
        return hidden


class Path(nn.Module):
    """Multi-scale part, attention, norm, residual: (b, d, m, l) to the same, along l."""

    def __init__(self, config: Config, channels: int) -> None:
        super().__init__()
        self.scales = MultiScale(channels, config.hidden_channels, config.num_levels)
        self.attention = FullAttention(channels, config.num_heads, config.key_channels)
        self.norm = ChannelNorm(channels)

    def forward(self, hidden: Tensor) -> Tensor:
        num, _, others, _ = hidden.shape
        rows = self.scales(hidden.transpose(1, 2).flatten(0, 1))
        rows = rows.unflatten(0, (num, others)).transpose(1, 2)
        normed: Tensor = self.norm(self.attention(rows))
        return hidden + normed


class MultiScale(nn.Module):
    """Multi-scale selective attention (sec. 3.3.1): (b, d, l) to the same.

    Levels are halved in turn, summed at the coarsest, and that sum gates them all; then they are fused from
    coarse to fine.
    """

    def __init__(self, channels: int, hidden: int, num_levels: int) -> None:
        super().__init__()
        self.expand = nn.Sequential(*conv_norm(channels, hidden, bias=True), nn.PReLU())
        self.downs = nn.ModuleList(
            conv_norm(hidden, hidden, 5, stride=2 if level else 1, groups=hidden, bias=True)
            for level in range(num_levels)
        )
        self.mix = nn.Sequential(
            conv_norm(hidden, hidden),
            nn.Conv1d(hidden, hidden, 5, padding=2, groups=hidden),
            nn.ReLU(),
            conv_norm(hidden, hidden),
        )
        self.selects = nn.ModuleList(Select(hidden, 1) for _ in range(num_levels))
        self.fuses = nn.ModuleList(Select(hidden, 5) for _ in range(num_levels - 1))
        self.reduce = nn.Conv1d(hidden, channels, 1)

    def forward(self, rows: Tensor) -> Tensor:
        levels = [self.downs[0](self.expand(rows))]
        for down in list(self.downs)[1:]:
            levels.append(down(levels[-1]))
        coarsest = levels[-1].shape[-1]
        summed = torch.stack([F.adaptive_avg_pool1d(level, coarsest) for level in levels])
        context = self.mix(summed.sum(dim=0))
        chosen = [
            select(level, context) for select, level in zip(self.selects, levels, strict=True)
        ]
        fused = chosen[-1]
        for fuse, level in zip(reversed(self.fuses), reversed(chosen[:-1]), strict=True):
            fused = fuse(level, fused)
        reduced: Tensor = self.reduce(fused)
        return rows + reduced


class Select(nn.Module):
    """local gate(context) + context', context brought to the length of local (b, h, l)."""

    def __init__(self, hidden: int, kernel: int) -> None:
        super().__init__()
        self.local = conv_norm(hidden, hidden, kernel, groups=hidden)
        self.shift = conv_norm(hidden, hidden, kernel, groups=hidden)
        self.gate = conv_norm(hidden, hidden, kernel, groups=hidden)

    def forward(self, local: Tensor, context: Tensor) -> Tensor:
        size = local.shape[-1]
        gate = F.interpolate(torch.sigmoid(self.gate(context)), size=size)
        shift = F.interpolate(self.shift(context), size=size)
        return torch.addcmul(shift, self.local(local), gate)


class FullAttention(nn.Module):
    """Full-frequency-frame attention (sec. 3.3.2): (b, d, m, l) to the same.

    A token is a place of the last axis, with all channels at all places of the other.
    """

    def __init__(self, channels: int, num_heads: int, key_channels: int) -> None:
        super().__init__()
        if channels % num_heads:
            raise ValueError(f"{channels} channels do not split into {num_heads} heads")
        sizes = (key_channels, key_channels, channels // num_heads)
        self.heads = nn.ModuleList(
            nn.ModuleList(conv_act_norm(channels, size) for size in sizes) for _ in range(num_heads)
        )
        self.out = conv_act_norm(channels, channels)

    def forward(self, hidden: Tensor) -> Tensor:
        seen = []
        for head in self.heads:
            query, key, value = (part(hidden) for part in head.children())
            tokens = (part.permute(0, 3, 1, 2).flatten(2) for part in (query, key, value))
            attended = F.scaled_dot_product_attention(*tokens)
            seen.append(attended.unflatten(2, value.shape[1:3]).permute(0, 2, 3, 1))
        out: Tensor = self.out(torch.cat(seen, dim=1))
        return hidden + out


class ChannelNorm(nn.Module):
    """(b, d, m, l) to mean 0 and variance 1 over d at each place, then scaled and shifted."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, hidden: Tensor) -> Tensor:
        normed: Tensor = self.norm(hidden.movedim(1, -1))
        return normed.movedim(-1, 1)


def conv_norm(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, bias: bool = False
) -> nn.Sequential:
    """The norm is over channels and length."""
    conv = nn.Conv1d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=bias)
    return nn.Sequential(conv, nn.GroupNorm(1, outputs, eps=1e-8))


def conv_act_norm(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.PReLU(), ChannelNorm(outputs))

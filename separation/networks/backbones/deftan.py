"""DeFTAN-II: transformers along frequency and along time that attend from locally emphasised features to
plain ones, for several microphones.

Lee and Choi, "DeFTAN-II: efficient multichannel speech enhancement with subgroup processing", TASLP 2024
(arXiv 2308.15777), sec. III: split dense blocks, convolutional efficient attention, dual-path feed-forward
network. Goes with `analyses/stft.py` and `heads/spectrum.py`. Sizes are those of the released code (four
microphones, one source). Dropout is left out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.settings import configuration

from ..composition import Inject


@configuration
class Config:
    """num_blocks: pairs of an F- and a T-transformer. channels C; unfolded: neighbouring bins or frames
    that a transformer starts from; num_heads, each of head_channels; hidden_channels of the feed-forward
    network. num_heads is also the number of subgroups of the first and last split dense block."""

    num_blocks: int = 6
    channels: int = 64
    unfolded: int = 4
    num_heads: int = 4
    head_channels: int = 64
    hidden_channels: int = 256

    def __post_init__(self) -> None:
        if self.hidden_channels % 2:
            raise ValueError(f"hidden_channels is {self.hidden_channels}; expected an even number")


def build(config: Config, channels: int, num_bands: int, num_maps: int, causal: bool) -> Deftan:
    """The network for `channels` input channels. ValueError if causal."""
    if causal:
        raise ValueError("DeFTAN-II is not causal: its attention and norms see all frames")
    return Deftan(config, channels, num_maps)


class Deftan(nn.Module):
    """The query conditions the input of each pair of transformers."""

    complete = True

    def __init__(self, config: Config, inputs: int, num_maps: int) -> None:
        super().__init__()
        self.width, self.sites = num_maps, (config.channels,) * config.num_blocks
        groups, wide = config.num_heads, config.channels * config.num_heads
        self.least = config.unfolded  # frames and bins
        self.first = nn.Sequential(
            nn.Conv2d(inputs, wide, 3, padding=1),
            nn.GroupNorm(1, wide),
            SplitDense(nn.Conv2d, config.channels, groups),
        )
        self.blocks = nn.ModuleList(Block(config, index) for index in range(config.num_blocks))
        self.last = nn.Sequential(
            nn.Conv2d(config.channels, num_maps * groups, 3, padding=1),
            SplitDense(nn.Conv2d, num_maps, groups),
        )

    def forward(self, features: Tensor, inject: Inject) -> Tensor:
        """(b, i, f, n) to maps (b, num_maps, f, n)."""
        num_bins, num_frames = features.shape[-2:]
        missing = (max(0, self.least - num_frames), max(0, self.least - num_bins))
        hidden = self.first(F.pad(features, (0, missing[0], 0, missing[1])))
        for site, block in enumerate(self.blocks):
            hidden = block(inject(site, hidden))
        maps: Tensor = self.last(hidden)
        return maps[..., :num_bins, :num_frames]


class SplitDense(nn.Module):
    """Split dense block (sec. III-B): (b, d groups, ...) to (b, d, ...).

    Channels are split into interleaved subgroups. Each layer sees the output of the layer before and one
    subgroup more.
    """

    def __init__(self, conv: type[nn.Conv1d] | type[nn.Conv2d], channels: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.layers = nn.ModuleList(
            nn.Sequential(
                conv(channels * (2 if index else 1), channels, 3, padding=1),
                nn.GroupNorm(1, channels),
                nn.PReLU(channels),
            )
            for index in range(groups)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """(b, d groups, ...) to (b, d, ...)."""
        output = self.layers[0](hidden[:, :: self.groups])
        for index, layer in enumerate(list(self.layers)[1:], start=1):
            output = layer(torch.cat([output, hidden[:, index :: self.groups]], dim=1))
        return output


class Block(nn.Module):
    """F-transformer, then T-transformer (sec. III-A)."""

    def __init__(self, config: Config, index: int) -> None:
        super().__init__()
        self.along_bins = Transformer(config, index)
        self.along_frames = Transformer(config, index)

    def forward(self, hidden: Tensor) -> Tensor:
        """(b, d, f, n) to (b, d, f, n)."""
        hidden = self.along_bins(hidden.transpose(2, 3)).transpose(2, 3)
        output: Tensor = self.along_frames(hidden)
        return output


class Transformer(nn.Module):
    """Along the last axis: norm, unfolding, split dense block, attention, feed-forward network, folding."""

    def __init__(self, config: Config, index: int) -> None:
        super().__init__()
        width, self.unfolded = config.channels, config.unfolded
        self.norm = nn.LayerNorm(width)
        self.enter = SplitDense(nn.Conv1d, width, config.unfolded)
        self.attention_norm, self.attention = nn.LayerNorm(width), EfficientAttention(config)
        self.feed_norm, self.feed = nn.LayerNorm(width), DualPath(config, 2**index)
        self.leave = nn.ConvTranspose1d(width, width, config.unfolded)

    def forward(self, hidden: Tensor) -> Tensor:
        """(b, d, m, l) to (b, d, m, l), l at least `unfolded`."""
        num, _, others, _ = hidden.shape
        rows = self.norm(hidden.permute(0, 2, 3, 1)).flatten(0, 1).transpose(1, 2)  # (b m, d, l)
        # Each channel at `unfolded` neighbouring places, as channels of their own.
        neighbours = rows.unfold(-1, self.unfolded, 1).transpose(2, 3).flatten(1, 2)
        tokens = self.enter(neighbours).transpose(1, 2)
        tokens = tokens + self.attention(self.attention_norm(tokens))
        tokens = tokens + self.feed(self.feed_norm(tokens))
        folded = self.leave(tokens.transpose(1, 2)).unflatten(0, (num, others))
        return hidden + folded.transpose(1, 2)


class EfficientAttention(nn.Module):
    """Convolutional efficient attention (sec. III-C): linear in the length, with queries and keys of
    locally emphasised features and values of plain ones."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, self.num_heads = config.channels, config.num_heads
        inner = config.num_heads * config.head_channels
        self.scale = config.head_channels**-0.5
        self.emphasis = nn.Conv1d(width, 2 * width, 3, padding=1, bias=False)
        self.query, self.key, self.value = (nn.Linear(width, inner, bias=False) for _ in range(3))
        self.out = nn.Linear(inner, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(b, l, d) to (b, l, d)."""
        local = F.glu(self.emphasis(tokens.transpose(1, 2)), dim=1).transpose(1, 2)
        query, key, value = (
            part.unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for part in (self.query(local), self.key(local), self.value(tokens))
        )
        # Shen et al. 2021, "Efficient attention": keys are normed over places, queries over channels.
        context = key.softmax(dim=2).transpose(2, 3) @ value * self.scale
        attended = query.softmax(dim=3) @ context
        output: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return output


class DualPath(nn.Module):
    """Dual-path feed-forward network (sec. III-D): one half pointwise, one with a dilated convolution."""

    def __init__(self, config: Config, dilation: int) -> None:
        super().__init__()
        width, half = config.channels, config.hidden_channels // 2
        self.plain, self.local = nn.Linear(width, half), nn.Linear(width, half)
        self.conv = nn.Sequential(
            nn.Conv1d(half, half, 5, padding=2 * dilation, dilation=dilation),
            nn.GroupNorm(1, half),
            nn.PReLU(half),
        )
        self.out = nn.Linear(config.hidden_channels, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(b, l, d) to (b, l, d)."""
        local = self.conv(F.gelu(self.local(tokens)).transpose(1, 2)).transpose(1, 2)
        output: Tensor = self.out(torch.cat([F.gelu(self.plain(tokens)), local], dim=2))
        return output

"""TIGER: one block with shared weights, applied several times along frequency and along time, at
several scales.

Xu, Li, Chen and Hu, "TIGER: time-frequency interleaved gain extraction and reconstruction for efficient
speech separation", ICLR 2025 (arXiv 2410.01469), sec. 3.3. Goes with `analyses/bands.py`
(scheme "tiger", readout "linear") and a complex mask whose outputs sum to one. In the last fusion
(sec. 3.3.1) the released code starts from a finer level than the coarsest; this follows the paper's
figure, or with released_fusion the code. Dropout is left out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.settings import configuration

from ..blocks.channels_last import LineConv, LineNorm, pooled, resized
from ..composition import Inject


@configuration
class Config:
    """num_iterations: B of the paper, 4 (small) or 8 (large). hidden_channels H and num_levels D of the
    multi-scale module; num_heads of the attention, with key_channels E. released_fusion: fuse levels as the
    released code does, for its weights."""

    num_iterations: int = 8
    hidden_channels: int = 256
    num_levels: int = 5
    num_heads: int = 4
    key_channels: int = 4
    released_fusion: bool = False


def build(config: Config, channels: int, num_bands: int, num_maps: int, causal: bool) -> Tiger:
    """The backbone for features of `channels` channels, as many as come out. ValueError if causal."""
    if causal:
        raise ValueError("TIGER is not causal: its attention and norms see all frames")
    return Tiger(config, channels)


class Tiger(nn.Module):
    """The separator of sec. 3.3; the query conditions the input of each iteration."""

    complete = False

    def __init__(self, config: Config, channels: int) -> None:
        super().__init__()
        self.width, self.sites = channels, (channels,)  # one: iterations share their weights
        self.num_iterations = config.num_iterations
        self.along_bands, self.along_frames = Path(config, channels), Path(config, channels)
        self.merge = nn.Sequential(
            LineConv(nn.Conv2d(channels, channels, 1, groups=channels)), nn.PReLU()
        )

    def forward(self, features: Tensor, inject: Inject) -> Tensor:
        """(b, d, k, n) to (b, d, k, n)."""
        entered = features.permute(0, 2, 3, 1).contiguous()  # (b, k, n, d), as all that follows
        hidden = entered
        for iteration in range(self.num_iterations):
            if iteration:
                hidden = self.merge(entered + hidden)
            hidden = inject(0, hidden.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            hidden = self.along_bands(hidden.transpose(1, 2).contiguous())
            hidden = self.along_frames(hidden.transpose(1, 2).contiguous())
        return hidden.permute(0, 3, 1, 2)


class Path(nn.Module):
    """Multi-scale module, attention, norm and residual, along the last axis but the channels."""

    def __init__(self, config: Config, channels: int) -> None:
        super().__init__()
        self.scales = MultiScale(
            channels, config.hidden_channels, config.num_levels, config.released_fusion
        )
        self.attention = FullAttention(channels, config.num_heads, config.key_channels)
        self.norm = ChannelNorm(channels)

    def forward(self, hidden: Tensor) -> Tensor:
        """(b, m, l, d) to (b, m, l, d)."""
        normed: Tensor = self.norm(self.attention(self.scales(hidden)))
        return hidden + normed


class MultiScale(nn.Module):
    """Multi-scale selective attention (sec. 3.3.1).

    Each level has half the length of the one before. The sum of all, at the coarsest level's length,
    gates each level; then the levels are fused from coarse to fine.
    """

    def __init__(
        self, channels: int, hidden: int, num_levels: int, released_fusion: bool = False
    ) -> None:
        super().__init__()
        # Counted from the coarsest. There the released code takes the level two finer, where there is one.
        self.start = 2 if released_fusion and num_levels > 2 else 0
        self.expand = nn.Sequential(*conv_norm(channels, hidden, bias=True), nn.PReLU())
        self.downs = nn.ModuleList(
            conv_norm(hidden, hidden, 5, stride=2 if level else 1, groups=hidden, bias=True)
            for level in range(num_levels)
        )
        self.mix = nn.Sequential(
            conv_norm(hidden, hidden),
            LineConv(nn.Conv1d(hidden, hidden, 5, groups=hidden)),
            nn.ReLU(),
            conv_norm(hidden, hidden),
        )
        self.selects = nn.ModuleList(Select(hidden, 1) for _ in range(num_levels))
        self.fuses = nn.ModuleList(Select(hidden, 5) for _ in range(num_levels - 1))
        self.reduce = LineConv(nn.Conv1d(hidden, channels, 1))

    def forward(self, lines: Tensor) -> Tensor:
        """(b, m, l, d) to (b, m, l, d)."""
        levels = [self.downs[0](self.expand(lines))]
        for down in list(self.downs)[1:]:
            levels.append(down(levels[-1]))
        coarsest = levels[-1].shape[2]
        summed = torch.stack([pooled(level, coarsest) for level in levels])
        context = self.mix(summed.sum(dim=0))
        gated = [select(level, context) for select, level in zip(self.selects, levels, strict=True)]
        fused = gated[-1 - self.start]
        for fuse, level in zip(reversed(self.fuses), reversed(gated[:-1]), strict=True):
            fused = fuse(level, fused)
        reduced: Tensor = self.reduce(fused)
        return lines + reduced


class Select(nn.Module):
    """Selective attention: local features gated and shifted by a context of another length."""

    def __init__(self, hidden: int, kernel: int) -> None:
        super().__init__()
        self.local = conv_norm(hidden, hidden, kernel, groups=hidden)
        self.shift = conv_norm(hidden, hidden, kernel, groups=hidden)
        self.gate = conv_norm(hidden, hidden, kernel, groups=hidden)

    def forward(self, local: Tensor, context: Tensor) -> Tensor:
        """local (b, m, l, h), context (b, m, l', h) to (b, m, l, h)."""
        length = local.shape[2]
        gate = resized(torch.sigmoid(self.gate(context)), length)
        shift = resized(self.shift(context), length)
        return torch.addcmul(shift, self.local(local), gate)


class FullAttention(nn.Module):
    """Full-frequency-frame attention (sec. 3.3.2) along l.

    A token is one of the l positions, with all channels at all m positions of the other axis.
    """

    def __init__(self, channels: int, num_heads: int, key_channels: int) -> None:
        super().__init__()
        if channels % num_heads:
            raise ValueError(f"{channels} channels do not split into {num_heads} heads")
        self.sizes = (key_channels, key_channels, channels // num_heads)  # of query, key, value
        self.heads = nn.ModuleList(
            nn.ModuleList(conv_act_norm(channels, size) for size in self.sizes)
            for _ in range(num_heads)
        )
        self.out = conv_act_norm(channels, channels)

    def forward(self, hidden: Tensor) -> Tensor:
        """(b, m, l, d) to (b, m, l, d)."""
        query, key, value = (
            self.tokens(part, size, hidden) for part, size in enumerate(self.sizes)
        )
        attended = F.scaled_dot_product_attention(query, key, value)  # (b, heads, l, m e)
        heads = attended.unflatten(3, (hidden.shape[1], -1)).permute(0, 3, 2, 1, 4)
        out: Tensor = self.out(heads.flatten(3))
        return hidden + out

    def tokens(self, part: int, size: int, hidden: Tensor) -> Tensor:
        """All heads' queries, keys or values, part 0, 1 or 2, of e = size channels: (b, m, l, d) to
        (b, heads, l, m e)."""

        def stacked(name: str) -> Tensor:
            weights: list[Tensor] = [head.get_parameter(f"{part}.{name}") for head in self.heads]
            return torch.stack(weights).flatten(2) if weights[0].dim() > 1 else torch.cat(weights)

        mapped = F.linear(hidden, stacked("0.weight").flatten(0, 1), stacked("0.bias"))
        slopes = stacked("1.weight").repeat_interleave(size)
        active = F.prelu(mapped.permute(0, 3, 1, 2), slopes).permute(0, 2, 3, 1)
        by_head = F.layer_norm(active.unflatten(3, (-1, size)), (size,)).flatten(3)
        normed = torch.addcmul(stacked("2.norm.bias"), by_head, stacked("2.norm.weight"))
        return normed.unflatten(3, (-1, size)).permute(0, 3, 2, 1, 4).flatten(3)


class ChannelNorm(nn.Module):
    """Layer norm over d at each position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, lines: Tensor) -> Tensor:
        """(b, m, l, d) to (b, m, l, d)."""
        normed: Tensor = self.norm(lines)
        return normed


def conv_norm(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, bias: bool = False
) -> nn.Sequential:
    """A convolution along l, and a norm over l and channels; same length at stride 1."""
    conv = nn.Conv1d(inputs, outputs, kernel, stride, groups=groups, bias=bias)
    return nn.Sequential(LineConv(conv), LineNorm(outputs, eps=1e-8))


def conv_act_norm(inputs: int, outputs: int) -> nn.Sequential:
    """A 1 x 1 convolution, PReLU, and a norm over channels: (b, m, l, inputs) to (b, m, l, outputs)."""
    return nn.Sequential(LineConv(nn.Conv2d(inputs, outputs, 1)), nn.PReLU(), ChannelNorm(outputs))

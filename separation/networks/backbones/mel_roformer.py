"""Mel-RoFormer: transformers with rotary position embeddings, alternately along time and along bands.

Wang, Lu and Won, "Mel-band RoFormer for music source separation" (arXiv 2310.01809), sec. 2; the blocks
are those of Lu, Wang, Kong and Hung, "Music source separation with band-split RoPE transformer"
(arXiv 2309.02612), sec. 2.2. Goes with `analyses/mel_bands.py` (or `analyses/bands.py`, as in the
second paper) and a complex mask.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.settings import configuration

from ..composition import Inject


@configuration
class Config:
    """num_blocks: L of the paper, of two transformer layers each. feed_forward_factor: hidden width of
    the feed-forward part, over that of the features."""

    num_blocks: int = 12
    num_heads: int = 8
    feed_forward_factor: int = 4


def build(
    config: Config, channels: int, num_bands: int, num_maps: int, causal: bool
) -> MelRoformer:
    """The backbone for features of `channels` channels, as many as come out. ValueError if causal."""
    if causal:
        raise ValueError("Mel-RoFormer is not causal: its attention sees all frames")
    return MelRoformer(config, channels)


class MelRoformer(nn.Module):
    """Keeps the shape (b, d, k, n); the query conditions the input of each block."""

    complete = False

    def __init__(self, config: Config, channels: int) -> None:
        super().__init__()
        self.width, self.sites = channels, (channels,) * config.num_blocks
        inner = config.feed_forward_factor * channels
        self.along_frames = nn.ModuleList(
            Layer(channels, config.num_heads, inner) for _ in self.sites
        )
        self.along_bands = nn.ModuleList(
            Layer(channels, config.num_heads, inner) for _ in self.sites
        )
        self.norm = nn.RMSNorm(channels)

    def forward(self, features: Tensor, inject: Inject) -> Tensor:
        """(b, d, k, n) to (b, d, k, n)."""
        hidden = features
        for block, (frames, bands) in enumerate(
            zip(self.along_frames, self.along_bands, strict=True)
        ):
            grid = inject(block, hidden).permute(0, 2, 3, 1)  # (b, k, n, d)
            grid = frames(grid.flatten(0, 1)).unflatten(0, grid.shape[:2]).transpose(1, 2)
            grid = bands(grid.flatten(0, 1)).unflatten(0, grid.shape[:2])
            hidden = grid.permute(0, 3, 2, 1)
        normed: Tensor = self.norm(hidden.movedim(1, -1))
        return normed.movedim(-1, 1)


class Layer(nn.Module):
    """Attention with rotary positions, then a feed-forward part, each after an RMS norm and with a
    residual."""

    def __init__(self, channels: int, num_heads: int, inner: int) -> None:
        super().__init__()
        if channels % (2 * num_heads):
            raise ValueError(f"{channels} channels: expected a multiple of 2 x {num_heads} heads")
        self.num_heads = num_heads
        self.norm1, self.norm2 = nn.RMSNorm(channels), nn.RMSNorm(channels)
        self.asks = nn.Linear(channels, 3 * channels, bias=False)
        self.out = nn.Linear(channels, channels, bias=False)
        self.expand, self.reduce = nn.Linear(channels, inner), nn.Linear(inner, channels)

    def forward(self, rows: Tensor) -> Tensor:
        """(b, l, d) to (b, l, d)."""
        heads = self.asks(self.norm1(rows)).unflatten(2, (3, self.num_heads, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(rotated(query), rotated(key), value)
        rows = rows + self.out(attended.transpose(1, 2).flatten(2))
        forward: Tensor = self.reduce(F.gelu(self.expand(self.norm2(rows))))
        return rows + forward


def rotated(rows: Tensor) -> Tensor:
    """Rotary position embedding, Su et al., "RoFormer" (2021), sec. 3.2.2: (..., l, e), e even, to the
    same shape.

    Channels 2 i and 2 i + 1 at position p are rotated by p / 10000^(2 i / e) radians.
    """
    length, width = rows.shape[-2:]
    rates = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * rates
    cosine, sine = angles.cos().to(rows), angles.sin().to(rows)
    first, second = rows[..., 0::2], rows[..., 1::2]
    pairs = [first * cosine - second * sine, first * sine + second * cosine]
    return torch.stack(pairs, dim=-1).flatten(-2)

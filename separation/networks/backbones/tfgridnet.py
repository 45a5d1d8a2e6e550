"""Causal TF-GridNet: recurrent along bins, recurrent along frames, attention to the last frames.

Wang et al., "TF-GridNet: integrating full- and sub-band modeling for speech separation", TASLP 2023
(arXiv 2211.12433), sec. III-C: intra-frame full-band, sub-band temporal, cross-frame self-attention module.
Causal as Veluri et al., "Look once to hear: target speech hearing with noisy examples", CHI 2024, have it:
time is seen backwards alone, and attention is to the last frames. Between `analyses/stft.py` and
`heads/spectrum.py`, with two channels for two microphones.
"""

from __future__ import annotations

from torch import Tensor, nn

from qsep.queries.settings import configuration

from ..blocks.causal import CausalConv2d, recent_attention
from ..composition import Inject, State


@configuration
class Config:
    """num_blocks B, channels D, hidden_channels H of the LSTMs, num_heads L, key_channels E of each bin of a
    query or key, num_frames: how many frames attention sees."""

    num_blocks: int = 3
    channels: int = 64
    hidden_channels: int = 64
    num_heads: int = 4
    key_channels: int = 6
    num_frames: int = 50

    def __post_init__(self) -> None:
        if self.channels % self.num_heads:
            raise ValueError(f"{self.channels} channels do not split into {self.num_heads} heads")


def build(config: Config, channels: int, num_bands: int, num_maps: int, causal: bool) -> TfGridNet:
    if not causal:
        raise ValueError("this TF-GridNet is the causal one: causal = true")
    return TfGridNet(config, channels, num_bands, num_maps)


class TfGridNet(nn.Module):
    """(b, i, f, n) to maps (b, num_maps, f, n); the query comes before each block."""

    complete = True

    def __init__(self, config: Config, inputs: int, num_bins: int, num_maps: int) -> None:
        super().__init__()
        self.width, self.sites = num_maps, (config.channels,) * config.num_blocks
        self.first = CausalConv2d(inputs, config.channels, 3)
        self.blocks = nn.ModuleList(Block(config, num_bins) for _ in self.sites)
        self.last = CausalConv2d(config.channels, num_maps, 3)

    def forward(self, features: Tensor, inject: Inject) -> Tensor:
        return self.step(features, inject, None)[0]

    def step(self, features: Tensor, inject: Inject, state: State | None) -> tuple[Tensor, State]:
        before = state or [None] * (len(self.blocks) + 2)
        hidden, first = self.first(features, before[0])
        carried: State = [first]
        for number, block in enumerate(self.blocks):
            hidden, after = block(inject(number, hidden), before[number + 1])
            carried.append(after)
        maps, last = self.last(hidden, before[-1])
        return maps, [*carried, last]


class Block(nn.Module):
    """(b, d, f, n) and its state to the same and the next."""

    def __init__(self, config: Config, num_bins: int) -> None:
        super().__init__()
        width, hidden = config.channels, config.hidden_channels
        self.bins_norm, self.frames_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.along_bins = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
        self.bins_out = nn.Linear(2 * hidden, width)
        self.along_frames = nn.LSTM(width, hidden, batch_first=True)
        self.frames_out = nn.Linear(hidden, width)
        self.attention = FrameAttention(config, num_bins)

    def forward(self, hidden: Tensor, state: State | None) -> tuple[Tensor, State]:
        recurrent, attended = state or (None, None)
        grid = hidden.permute(0, 3, 2, 1)  # (b, n, f, d)
        # Sec. III-C1: each frame, along its bins.
        rows, _ = self.along_bins(self.bins_norm(grid).flatten(0, 1))
        grid = grid + self.bins_out(rows).unflatten(0, grid.shape[:2])
        # Sec. III-C2: each bin, along its frames.
        by_bin = grid.transpose(1, 2)
        rows, recurrent = self.along_frames(self.frames_norm(by_bin).flatten(0, 1), recurrent)
        by_bin = by_bin + self.frames_out(rows).unflatten(0, by_bin.shape[:2])
        # Sec. III-C3
        grid = by_bin.transpose(1, 2)
        seen, attended = self.attention(grid, attended)
        return (grid + seen).permute(0, 3, 2, 1), [recurrent, attended]


class FrameAttention(nn.Module):
    """Each frame, all its bins a token, sees itself and those before: (b, n, f, d) to the same."""

    def __init__(self, config: Config, num_bins: int) -> None:
        super().__init__()
        width, heads, keys = config.channels, config.num_heads, config.key_channels
        self.num_frames = config.num_frames
        self.query = HeadMap(width, heads, keys, num_bins)
        self.key = HeadMap(width, heads, keys, num_bins)
        self.value = HeadMap(width, heads, width // heads, num_bins)
        self.out = HeadMap(width, 1, width, num_bins)

    def forward(
        self, grid: Tensor, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        query, key, value = self.query(grid), self.key(grid), self.value(grid)
        size = value.shape[3:]
        query, key, value = (part.flatten(3) for part in (query, key, value))  # (b, heads, n, f e)
        seen, state = recent_attention(query, key, value, state, self.num_frames)
        joined = seen.unflatten(3, size).permute(0, 2, 3, 1, 4).flatten(3)
        return self.out(joined)[:, 0], state


class HeadMap(nn.Module):
    """Matrix, PReLU, norm over a frame's bins and channels: (b, n, f, d) to (b, heads, n, f, e)."""

    def __init__(self, width: int, num_heads: int, size: int, num_bins: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.linear, self.active = nn.Linear(width, num_heads * size), nn.PReLU()
        self.norm = nn.LayerNorm([num_bins, size])

    def forward(self, grid: Tensor) -> Tensor:
        mapped = self.active(self.linear(grid)).unflatten(3, (self.num_heads, -1))
        normed: Tensor = self.norm(mapped.permute(0, 3, 1, 2, 4))
        return normed

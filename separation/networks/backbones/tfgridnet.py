"""Causal TF-GridNet: LSTMs along bins and along frames, and attention to the most recent frames.

Wang et al., "TF-GridNet: integrating full- and sub-band modeling for speech separation", TASLP 2023
(arXiv 2211.12433), sec. III-C: intra-frame full-band module, sub-band temporal module, cross-frame
self-attention. Causal as in Veluri et al., "Look once to hear: target speech hearing with noisy
examples", CHI 2024: convolutions and LSTMs along time see no later frame, and attention is limited to
the last frames. Goes with `analyses/stft.py` and `heads/spectrum.py`; two channels for two microphones.
"""

from __future__ import annotations

from torch import Tensor, nn

from qsep.queries.settings import configuration

from ..blocks.causal import CausalConv2d, recent_attention
from ..composition import Inject, State


@configuration
class Config:
    """Letters of the paper: num_blocks B, channels D, hidden_channels H of the LSTMs, num_heads L,
    key_channels E of each bin. num_frames: how many frames attention sees, the current one included."""

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
    """The network for `channels` input channels and num_bands bins. ValueError unless causal."""
    if not causal:
        raise ValueError("TF-GridNet is implemented in its causal form only: set causal = true")
    return TfGridNet(config, channels, num_bands, num_maps)


class TfGridNet(nn.Module):
    """The query conditions the input of each block."""

    complete = True

    def __init__(self, config: Config, inputs: int, num_bins: int, num_maps: int) -> None:
        super().__init__()
        self.width, self.sites = num_maps, (config.channels,) * config.num_blocks
        self.first = CausalConv2d(inputs, config.channels, 3)
        self.blocks = nn.ModuleList(Block(config, num_bins) for _ in self.sites)
        self.last = CausalConv2d(config.channels, num_maps, 3)

    def forward(self, features: Tensor, inject: Inject) -> Tensor:
        """(b, i, f, n) to maps (b, num_maps, f, n)."""
        return self.step(features, inject, None)[0]

    def step(self, features: Tensor, inject: Inject, state: State | None) -> tuple[Tensor, State]:
        """The next frames (b, i, f, n) from the state of the last call, None at the start; to their
        maps (b, num_maps, f, n) and the new state."""
        before = state or [None] * (len(self.blocks) + 2)
        hidden, first = self.first(features, before[0])
        carried: State = [first]
        for number, block in enumerate(self.blocks):
            hidden, after = block(inject(number, hidden), before[number + 1])
            carried.append(after)
        maps, last = self.last(hidden, before[-1])
        return maps, [*carried, last]


class Block(nn.Module):
    """The three modules of sec. III-C, each with a residual."""

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
        """hidden (b, d, f, n) and its state to the same shape and the new state."""
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
        added, attended = self.attention(grid, attended)
        return (grid + added).permute(0, 3, 2, 1), [recurrent, attended]


class FrameAttention(nn.Module):
    """Causal attention between frames; a token is a frame with all its bins."""

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
        """grid (b, n, f, d) and earlier keys and values to the same shape and the new keys and values."""
        query, key, value = self.query(grid), self.key(grid), self.value(grid)
        size = value.shape[3:]
        query, key, value = (part.flatten(3) for part in (query, key, value))  # (b, heads, n, f e)
        from_recent, state = recent_attention(query, key, value, state, self.num_frames)
        joined = from_recent.unflatten(3, size).permute(0, 2, 3, 1, 4).flatten(3)
        return self.out(joined)[:, 0], state


class HeadMap(nn.Module):
    """Linear layer, PReLU, and a norm over the bins and channels of a frame."""

    def __init__(self, width: int, num_heads: int, size: int, num_bins: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.linear, self.active = nn.Linear(width, num_heads * size), nn.PReLU()
        self.norm = nn.LayerNorm([num_bins, size])

    def forward(self, grid: Tensor) -> Tensor:
        """(b, n, f, d) to (b, heads, n, f, e)."""
        mapped = self.active(self.linear(grid)).unflatten(3, (self.num_heads, -1))
        normed: Tensor = self.norm(mapped.permute(0, 3, 1, 2, 4))
        return normed

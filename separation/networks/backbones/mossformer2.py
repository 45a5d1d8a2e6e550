"""MossFormer2: gated attention, within groups of frames and linear over all, and recurrence without an RNN.

Zhao et al., "MossFormer2: combining transformer and RNN-free recurrent network for enhanced time-domain
monaural speech separation", ICASSP 2024 (arXiv 2312.11825), sec. 2; attention is that of Zhao and Ma,
"MossFormer" (arXiv 2302.11824), sec. 2.2, without whose partner, `recurrent` false, it is MossFormer.
Between `analyses/filterbank.py` (readout "gated") and a magnitude mask with ReLU.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.settings import configuration

from ..composition import Inject
from .mel_roformer import rotated

EXPANSION = 4  # of v and u together, over the features
CONV_FRAMES = 17


@configuration
class Config:
    """num_layers R, group_frames P of the attention within groups, key_channels and of these
    rotary_channels turned by place. recurrent: whether a recurrent module follows attention, of
    memory_channels, whose memory is of memory_frames each side."""

    num_layers: int = 24
    group_frames: int = 256
    key_channels: int = 128
    rotary_channels: int = 32
    recurrent: bool = True
    memory_channels: int = 256
    memory_frames: int = 19


def build(
    config: Config, channels: int, num_bands: int, num_maps: int, causal: bool
) -> MossFormer2:
    if causal:
        raise ValueError("MossFormer2 is not causal: its norms and memories see later frames")
    if num_bands != 1:
        raise ValueError("MossFormer2 works on learned filters: its analysis must be 'filterbank'")
    return MossFormer2(config, channels)


class MossFormer2(nn.Module):
    """(b, d, 1, n) to the same; the query comes before each layer."""

    complete = False

    def __init__(self, config: Config, channels: int) -> None:
        super().__init__()
        self.width, self.sites = channels, (channels,) * config.num_layers
        self.first = nn.GroupNorm(1, channels, eps=1e-8)
        self.bottleneck = nn.Conv1d(channels, channels, 1, bias=False)
        self.place_scale = nn.Parameter(torch.ones(1))
        self.attentions = nn.ModuleList(GatedAttention(config, channels) for _ in self.sites)
        self.memories = nn.ModuleList(
            RecurrentModule(config, channels) if config.recurrent else nn.Identity()
            for _ in self.sites
        )
        self.last = nn.LayerNorm(channels)
        self.outer = nn.GroupNorm(1, channels, eps=1e-8)

    def forward(self, features: Tensor, inject: Inject) -> Tensor:
        entered = self.bottleneck(self.first(features[:, :, 0]))
        hidden = entered + self.place_scale * sinusoids(entered)
        for layer, (attention, memory) in enumerate(
            zip(self.attentions, self.memories, strict=True)
        ):
            rows = inject(layer, hidden).transpose(1, 2)
            hidden = memory(attention(rows)).transpose(1, 2)
        normed = self.outer(self.last(hidden.transpose(1, 2)).transpose(1, 2))
        found: Tensor = entered + normed
        return found[:, :, None]


class ConvProjection(nn.Module):
    """Norm, matrix, SiLU, and a depthwise convolution over frames added: (b, n, i) to (b, n, o)."""

    def __init__(self, inputs: int, outputs: int, norm: nn.Module) -> None:
        super().__init__()
        self.norm, self.linear = norm, nn.Linear(inputs, outputs)
        half = CONV_FRAMES // 2
        self.conv = nn.Conv1d(
            outputs, outputs, CONV_FRAMES, padding=half, groups=outputs, bias=False
        )

    def forward(self, rows: Tensor) -> Tensor:
        mapped = F.silu(self.linear(self.norm(rows)))
        added: Tensor = self.conv(mapped.transpose(1, 2)).transpose(1, 2)
        return mapped + added


class ScaleNorm(nn.Module):
    """Rows of d values over their norm, over sqrt(d), times one learned gain."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, rows: Tensor) -> Tensor:
        norm = rows.norm(dim=-1, keepdim=True) * rows.shape[-1] ** -0.5
        return rows / norm.clamp_min(1e-5) * self.gain


class GatedAttention(nn.Module):
    """Gated single-head attention, joint local and global (MossFormer, sec. 2.2): (b, n, d) to the same."""

    def __init__(self, config: Config, channels: int) -> None:
        super().__init__()
        self.group, self.turned = config.group_frames, config.rotary_channels
        inner = EXPANSION * channels
        self.hidden = ConvProjection(channels, inner, ScaleNorm())
        self.keys = ConvProjection(channels, config.key_channels, ScaleNorm())
        self.scales = nn.Parameter(0.02 * torch.randn(4, config.key_channels))
        self.shifts = nn.Parameter(torch.zeros(4, config.key_channels))
        self.out = ConvProjection(inner // 2, channels, ScaleNorm())

    def forward(self, rows: Tensor) -> Tensor:
        late, same = rows.chunk(2, dim=-1)
        shifted = torch.cat([F.pad(late, (0, 0, 1, -1)), same], dim=-1)  # half, one frame later
        v, u = self.hidden(shifted).chunk(2, dim=-1)
        shared = self.keys(shifted)[:, None] * self.scales[:, None] + self.shifts[:, None]
        turned = rotated(shared[..., : self.turned])
        asks = torch.cat([turned, shared[..., self.turned :]], dim=-1).unbind(dim=1)
        seen_v, seen_u = self.attend(asks, torch.cat([v, u], dim=-1)).chunk(2, dim=-1)
        added: Tensor = self.out(seen_u * v * torch.sigmoid(seen_v * u))
        return rows + added

    def attend(self, asks: tuple[Tensor, ...], values: Tensor) -> Tensor:
        """asks: local query, global query, local key, global key; values (b, n, e) to the same."""
        num_frames = values.shape[1]
        group = min(self.group, num_frames)
        padding = (0, 0, 0, -num_frames % group)
        query, _, key, _ = (F.pad(rows, padding).unflatten(1, (-1, group)) for rows in asks)
        grouped = F.pad(values, padding).unflatten(1, (-1, group))
        weights = F.relu(query @ key.transpose(-2, -1) / self.group).square()
        local = (weights @ grouped).flatten(1, 2)[:, :num_frames]
        everywhere = asks[1] @ (asks[3].transpose(-2, -1) @ values / num_frames)
        return local + everywhere


class RecurrentModule(nn.Module):
    """Gated FSMN block (MossFormer2, sec. 2.3): bottleneck, two branches one of which has a memory, back."""

    def __init__(self, config: Config, channels: int) -> None:
        super().__init__()
        width = config.memory_channels
        self.reduce = nn.Sequential(nn.Linear(channels, width), nn.PReLU(), nn.LayerNorm(width))
        self.remembers = ConvProjection(width, width, nn.LayerNorm(width))
        self.gates = ConvProjection(width, width, nn.LayerNorm(width))
        self.enter, self.project = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.memory = DilatedMemory(width, config.memory_frames)
        self.expand = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, channels))

    def forward(self, rows: Tensor) -> Tensor:
        reduced = self.reduce(rows)
        branch = self.remembers(reduced)
        entered = self.project(F.relu(self.enter(branch)))
        branch = branch + self.memory(entered.transpose(1, 2)).transpose(1, 2)
        added: Tensor = self.expand(reduced + branch * self.gates(reduced))
        return rows + added


class DilatedMemory(nn.Module):
    """Two depthwise convolutions, the second dilated and seeing both: (b, d, n) to the same."""

    def __init__(self, channels: int, frames: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv1d(
                *(depth * channels, channels, 2 * frames + 1),
                padding=depth * frames,
                dilation=depth,
                groups=channels,
                bias=False,
            )
            for depth in (1, 2)
        )
        # Of each channel by itself, over frames.
        self.norms = nn.ModuleList(nn.GroupNorm(channels, channels) for _ in self.convs)
        self.actives = nn.ModuleList(nn.PReLU(channels) for _ in self.convs)

    def forward(self, rows: Tensor) -> Tensor:
        seen = rows
        found = rows
        for conv, norm, active in zip(self.convs, self.norms, self.actives, strict=True):
            found = active(norm(conv(seen)))
            seen = torch.cat([found, seen], dim=1)
        return found


def sinusoids(like: Tensor) -> Tensor:
    """Places of frames as sines and cosines (Vaswani et al. 2017, sec. 3.5): (d, n), as like (b, d, n)."""
    channels, num_frames = like.shape[1:]
    half = -(-channels // 2)
    rates = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = rates[:, None] * torch.arange(num_frames, dtype=torch.float64)
    return torch.cat([angles.sin(), angles.cos()])[:channels].to(like)

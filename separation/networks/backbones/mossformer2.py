"""MossFormer2: gated attention, quadratic within groups of frames and linear over all, and an RNN-free
recurrence.

Zhao et al., "MossFormer2: combining transformer and RNN-free recurrent network for enhanced time-domain
monaural speech separation", ICASSP 2024 (arXiv 2312.11825), sec. 2. Its attention is that of Zhao and
Ma, "MossFormer" (arXiv 2302.11824), sec. 2.2; with recurrent = false this is MossFormer. Goes with
`analyses/filterbank.py` (readout "gated") and a magnitude mask with ReLU.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.settings import configuration

from ..composition import Inject
from .mel_roformer import rotated

EXPANSION = 4  # width of v and u together, over that of the features
CONV_FRAMES = 17


@configuration
class Config:
    """num_layers R, group_frames P of the attention within groups, key_channels, of which
    rotary_channels get rotary positions. recurrent: whether a recurrent module follows each attention;
    it has memory_channels channels and sees memory_frames frames on each side."""

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
    """The backbone for features of `channels` channels. ValueError if causal, or if the analysis is not
    `filterbank`."""
    if causal:
        raise ValueError("MossFormer2 is not causal: its norms and convolutions see later frames")
    if num_bands != 1:
        raise ValueError("MossFormer2 works on learned filters: its analysis must be 'filterbank'")
    return MossFormer2(config, channels)


class MossFormer2(nn.Module):
    """The query conditions the input of each layer."""

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
        self.last = nn.LayerNorm(channels, eps=1e-6)
        self.outer = nn.GroupNorm(1, channels, eps=1e-8)

    def forward(self, features: Tensor, inject: Inject) -> Tensor:
        """(b, d, 1, n) to (b, d, 1, n)."""
        entered = self.bottleneck(self.first(features[:, :, 0]))
        placed = entered + self.place_scale * sinusoids(entered)
        hidden = placed
        for layer, (attention, memory) in enumerate(
            zip(self.attentions, self.memories, strict=True)
        ):
            rows = inject(layer, hidden).transpose(1, 2)
            hidden = memory(attention(rows)).transpose(1, 2)
        normed = self.outer(self.last(hidden.transpose(1, 2)).transpose(1, 2))
        output: Tensor = placed + normed
        return output[:, :, None]


class ConvProjection(nn.Module):
    """Norm, linear layer, SiLU, and a depthwise convolution over frames with a residual."""

    def __init__(self, inputs: int, outputs: int, norm: nn.Module) -> None:
        super().__init__()
        self.norm, self.linear = norm, nn.Linear(inputs, outputs)
        half = CONV_FRAMES // 2
        self.conv = nn.Conv1d(
            outputs, outputs, CONV_FRAMES, padding=half, groups=outputs, bias=False
        )

    def forward(self, rows: Tensor) -> Tensor:
        """(b, n, i) to (b, n, o)."""
        mapped = F.silu(self.linear(self.norm(rows)))
        added: Tensor = self.conv(mapped.transpose(1, 2)).transpose(1, 2)
        return mapped + added


class ScaleNorm(nn.Module):
    """Rows of d values divided by their root mean square, times one learned gain."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, rows: Tensor) -> Tensor:
        """(..., d) to (..., d)."""
        norm = rows.norm(dim=-1, keepdim=True) * rows.shape[-1] ** -0.5
        return rows / norm.clamp_min(1e-5) * self.gain


class GatedAttention(nn.Module):
    """Gated single-head attention, jointly local and global (MossFormer, sec. 2.2)."""

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
        """(b, n, d) to (b, n, d)."""
        late, same = rows.chunk(2, dim=-1)
        # Token shift: half of the channels come one frame later.
        shifted = torch.cat([F.pad(late, (0, 0, 1, -1)), same], dim=-1)
        v, u = self.hidden(shifted).chunk(2, dim=-1)
        shared = self.keys(shifted)[:, None] * self.scales[:, None] + self.shifts[:, None]
        turned = rotated(shared[..., : self.turned])
        projections = torch.cat([turned, shared[..., self.turned :]], dim=-1).unbind(dim=1)
        attended_v, attended_u = self.attend(projections, torch.cat([v, u], dim=-1)).chunk(
            2, dim=-1
        )
        added: Tensor = self.out(attended_u * v * torch.sigmoid(attended_v * u))
        return rows + added

    def attend(self, projections: tuple[Tensor, ...], values: Tensor) -> Tensor:
        """projections: local query, global query, local key, global key, each (b, n, key_channels);
        values (b, n, e) to (b, n, e)."""
        num_frames = values.shape[1]
        group = min(self.group, num_frames)
        padding = (0, 0, 0, -num_frames % group)
        query, _, key, _ = (F.pad(rows, padding).unflatten(1, (-1, group)) for rows in projections)
        grouped = F.pad(values, padding).unflatten(1, (-1, group))
        weights = F.relu(query @ key.transpose(-2, -1) / self.group).square()
        local = (weights @ grouped).flatten(1, 2)[:, :num_frames]
        linear = projections[1] @ (projections[3].transpose(-2, -1) @ values / num_frames)
        return local + linear


class RecurrentModule(nn.Module):
    """Gated FSMN block (MossFormer2, sec. 2.3): bottleneck, two branches of which one has a dilated
    memory, and back."""

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
        """(b, n, d) to (b, n, d)."""
        reduced = self.reduce(rows)
        branch = self.remembers(reduced)
        entered = self.project(F.relu(self.enter(branch)))
        branch = branch + self.memory(entered.transpose(1, 2)).transpose(1, 2)
        added: Tensor = self.expand(reduced + branch * self.gates(reduced))
        return rows + added


class DilatedMemory(nn.Module):
    """Two depthwise convolutions with dense connections, the second dilated."""

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
        # Instance norms: each channel separately, over frames.
        self.norms = nn.ModuleList(nn.GroupNorm(channels, channels) for _ in self.convs)
        self.actives = nn.ModuleList(nn.PReLU(channels) for _ in self.convs)

    def forward(self, rows: Tensor) -> Tensor:
        """(b, d, n) to (b, d, n)."""
        dense = rows
        output = rows
        for conv, norm, active in zip(self.convs, self.norms, self.actives, strict=True):
            output = active(norm(conv(dense)))
            dense = torch.cat([output, dense], dim=1)
        return output


def sinusoids(like: Tensor) -> Tensor:
    """Sinusoidal position encodings of frames (Vaswani et al. 2017, sec. 3.5): (d, n) for features
    (b, d, n)."""
    channels, num_frames = like.shape[1:]
    half = -(-channels // 2)
    rates = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = rates[:, None] * torch.arange(num_frames, dtype=torch.float64)
    return torch.cat([angles.sin(), angles.cos()])[:channels].to(like)

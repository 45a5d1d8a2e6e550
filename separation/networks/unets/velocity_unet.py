"""FlowSep's velocity network: a U-Net over latents with cross-attention to the query's tokens.

    latent at time tau, mixture's latent -> conv -> downs -> middle -> ups -> velocity

Each attention site has two transformers: the first attends to the features alone, the second to the
query too.

Yuan et al., "FlowSep" (2025); Rombach et al., "High-resolution image synthesis with latent diffusion
models" (2022).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.settings import configuration

from ..blocks.diffusion_residual import ResidualBlock, Upsample, zeroed
from ..blocks.spatial_transformer import SpatialTransformer

EPSILON = 1e-5  # of the norms
LONGEST_PERIOD = 10000.0


@configuration
class UNetConfig:
    """channels: of the levels, each with half the frames and bands of the one before; the first
    attention_free of them have no transformers. spare_channels: output channels that are ignored; the
    published network has 8. norm_groups and head_channels must divide the channels."""

    channels: tuple[int, ...] = (128, 256, 384, 640)
    attention_free: int = 1
    num_blocks: int = 2
    head_channels: int = 32
    norm_groups: int = 32
    spare_channels: int = 8


class VelocityUNet(nn.Module):
    """latent_channels: of one latent; two go in. context_dim: width of the query's tokens.

    Frames and bands must be multiples of `stride`.
    """

    varying_axes: tuple[int, ...] = ()  # see networks/exportable.py; windows are of one length
    narrow_inputs: tuple[int, ...] = (0, 1)  # see networks/exportable.py; few bands

    def __init__(self, config: UNetConfig, latent_channels: int, context_dim: int) -> None:
        super().__init__()
        channels, self.latent_channels = config.channels, latent_channels
        self.stride = 2 ** (len(channels) - 1)
        self.time = TimeEmbedding(channels[0])
        self.conv_in = nn.Conv2d(2 * latent_channels, channels[0], 3, padding=1)
        skips = [channels[0]]  # widths of the skip connections

        def site(in_channels: int, level: int) -> Site:
            attends = context_dim if level >= config.attention_free else 0
            return Site(in_channels, channels[level], self.time.dim, attends, config)

        width = channels[0]
        self.downs = nn.ModuleList()
        for level, level_width in enumerate(channels):
            if level:
                self.downs.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
                skips.append(width)
            for _ in range(config.num_blocks):
                self.downs.append(site(width, level))
                width = level_width
                skips.append(width)
        self.middle = site(width, len(channels) - 1)
        self.middle_out = ResidualBlock(width, width, config.norm_groups, EPSILON, self.time.dim)
        self.ups = nn.ModuleList()
        for level in reversed(range(len(channels))):
            for _ in range(config.num_blocks + 1):
                self.ups.append(site(width + skips.pop(), level))
                width = channels[level]
            if level:
                self.ups.append(Upsample(width))
        self.norm_out = nn.GroupNorm(config.norm_groups, width, EPSILON)
        num_out = latent_channels + config.spare_channels
        self.conv_out = zeroed(nn.Conv2d(width, num_out, 3, padding=1))

    def forward(
        self, latent: Tensor, mixture: Tensor, tau: Tensor, context: Tensor, mask: Tensor
    ) -> Tensor:
        """latent, mixture (b, d, n, k); tau (b,) in [0, 1]; context (b, l, e) with mask (b, l) bool,
        each row with a True; to (b, d, n, k)."""
        time = self.time(tau)
        features = self.conv_in(torch.cat([latent, mixture], dim=1))
        skips = [features]
        for layer in self.downs:
            is_site = isinstance(layer, Site)
            features = layer(features, time, context, mask) if is_site else layer(features)
            skips.append(features)
        features = self.middle_out(self.middle(features, time, context, mask), time)
        for layer in self.ups:
            if isinstance(layer, Site):
                features = layer(torch.cat([features, skips.pop()], dim=1), time, context, mask)
            else:
                features = layer(features)
        return self.conv_out(F.silu(self.norm_out(features)))[:, : self.latent_channels]


class TimeEmbedding(nn.Module):
    """Cosines and sines of tau at periods from 2 pi upwards, then two layers.

    As in the published code tau is not scaled up, so most of the waves are nearly constant.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels, self.dim = channels, 4 * channels
        self.expand = nn.Linear(channels, self.dim)
        self.mix = nn.Linear(self.dim, self.dim)

    def forward(self, tau: Tensor) -> Tensor:
        """tau (b,) to (b, dim)."""
        half = self.channels // 2
        steps = torch.arange(half, device=tau.device, dtype=tau.dtype) / half
        angles = tau[:, None] * torch.exp(-math.log(LONGEST_PERIOD) * steps)
        waves = torch.cat([angles.cos(), angles.sin()], dim=-1)
        return self.mix(F.silu(self.expand(waves)))


class Site(nn.Module):
    """A residual block and, unless context_dim is 0, self-attention and attention to the query."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        time_dim: int,
        context_dim: int,
        config: UNetConfig,
    ) -> None:
        super().__init__()
        groups, heads = config.norm_groups, config.head_channels
        self.block = ResidualBlock(in_channels, channels, groups, EPSILON, time_dim)
        zeroed(self.block.conv2)
        # self-attention, under the name that it has in checkpoints
        self.own = SpatialTransformer(channels, 0, heads, groups) if context_dim else None
        self.query = (
            SpatialTransformer(channels, context_dim, heads, groups) if context_dim else None
        )

    def forward(self, features: Tensor, time: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """features (b, c, n, k), time (b, time_dim), context (b, l, e) with mask (b, l) to
        (b, c', n, k)."""
        features = self.block(features, time)
        if self.own is None or self.query is None:
            return features
        return self.query(self.own(features), context, mask)

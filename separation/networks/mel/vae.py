"""The variational autoencoder of log-mel spectrograms, in whose latent space FlowSep's flow runs.

    log-mel (b, 1, n, k) -> encoder -> mean and log variance, (b, d, n / 4, k / 4) each
    latent (b, d, n / 4, k / 4) -> decoder -> log-mel (b, 1, n, k)

The image autoencoder of latent diffusion (Rombach et al. 2022, appendix G) with frames as rows and
bands as columns; Liu et al., "AudioLDM" (2023), sec. 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.settings import configuration

from ..blocks.diffusion_residual import ResidualBlock, Upsample

EPSILON = 1e-6  # of the norms
MIN_LOG_VARIANCE, MAX_LOG_VARIANCE = -30.0, 20.0


@configuration
class VAEConfig:
    """channels: of the levels, each with half the frames and bands of the one before. norm_groups must
    divide them."""

    channels: tuple[int, ...] = (128, 256, 512)
    latent_channels: int = 8
    num_blocks: int = 2
    norm_groups: int = 32


@dataclass(frozen=True)
class Posterior:
    """mean, log_variance: (b, d, n, k), of independent normal distributions."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """noise: standard normal, broadcast to the mean; to (b, d, n, k)."""
        return self.mean + torch.exp(0.5 * self.log_variance) * noise

    def divergence(self) -> Tensor:
        """(b,): Kullback-Leibler divergence from the standard normal distribution, summed."""
        variance = self.log_variance.exp()
        terms = self.mean.square() + variance - 1 - self.log_variance
        return 0.5 * terms.sum(dim=(1, 2, 3))


class MelVAE(nn.Module):
    """Encoder and decoder; n and k must be multiples of `stride`."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.stride = 2 ** (len(config.channels) - 1)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.to_moments = nn.Conv2d(2 * config.latent_channels, 2 * config.latent_channels, 1)
        self.from_latent = nn.Conv2d(config.latent_channels, config.latent_channels, 1)

    def encode(self, log_mel: Tensor) -> Posterior:
        """log_mel (b, 1, n, k) to the posterior of the latents, (b, d, n / stride, k / stride)."""
        mean, log_variance = self.to_moments(self.encoder(log_mel)).chunk(2, dim=1)
        return Posterior(mean, log_variance.clamp(MIN_LOG_VARIANCE, MAX_LOG_VARIANCE))

    def decode(self, latent: Tensor) -> Tensor:
        """latent (b, d, n / stride, k / stride) to (b, 1, n, k)."""
        return self.decoder(self.from_latent(latent))


class Encoder(nn.Module):
    """Levels of residual blocks, from fine to coarse."""

    varying_axes: tuple[int, ...] = ()  # see networks/exportable.py; windows are of one length

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        channels, groups = config.channels, config.norm_groups
        self.conv_in = nn.Conv2d(1, channels[0], 3, padding=1)
        self.levels = nn.ModuleList()
        for above, width in pairwise([channels[0], *channels]):
            self.levels.append(blocks(above, width, config.num_blocks, groups))
        self.downs = nn.ModuleList(Downsample(width) for width in channels[:-1])
        self.middle = middle(channels[-1], groups)
        self.norm_out = nn.GroupNorm(groups, channels[-1], EPSILON)
        self.conv_out = nn.Conv2d(channels[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, log_mel: Tensor) -> Tensor:
        """log_mel (b, 1, n, k) to (b, 2 d, n / stride, k / stride)."""
        features = self.levels[0](self.conv_in(log_mel))
        for down, level in zip(self.downs, self.levels[1:], strict=True):
            features = level(down(features))
        return self.conv_out(F.silu(self.norm_out(self.middle(features))))


class Decoder(nn.Module):
    """Levels of residual blocks, from coarse to fine."""

    varying_axes: tuple[int, ...] = ()

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        channels, groups = config.channels[::-1], config.norm_groups
        self.conv_in = nn.Conv2d(config.latent_channels, channels[0], 3, padding=1)
        self.middle = middle(channels[0], groups)
        self.levels = nn.ModuleList()
        for below, width in pairwise([channels[0], *channels]):
            self.levels.append(blocks(below, width, config.num_blocks + 1, groups))
        self.ups = nn.ModuleList(Upsample(width) for width in channels[:-1])
        self.norm_out = nn.GroupNorm(groups, channels[-1], EPSILON)
        self.conv_out = nn.Conv2d(channels[-1], 1, 3, padding=1)

    def forward(self, latent: Tensor) -> Tensor:
        """latent (b, d, n / stride, k / stride) to (b, 1, n, k)."""
        features = self.levels[0](self.middle(self.conv_in(latent)))
        for up, level in zip(self.ups, self.levels[1:], strict=True):
            features = level(up(features))
        return self.conv_out(F.silu(self.norm_out(features)))


def blocks(in_channels: int, channels: int, num_blocks: int, groups: int) -> nn.Sequential:
    """num_blocks residual blocks in a row: (b, in_channels, n, k) to (b, channels, n, k)."""
    widths = [in_channels, *[channels] * num_blocks]
    return nn.Sequential(*(ResidualBlock(a, b, groups, EPSILON) for a, b in pairwise(widths)))


class Downsample(nn.Module):
    """Strided convolution to half the frames and bands, padded at the end only, as published."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, features: Tensor) -> Tensor:
        """(b, c, n, k) to (b, c, n / 2, k / 2)."""
        return self.conv(F.pad(features, (0, 1, 0, 1)))


def middle(channels: int, groups: int) -> nn.Sequential:
    """Residual block, attention, residual block at the coarsest level; keeps the shape (b, c, n, k)."""
    return nn.Sequential(
        ResidualBlock(channels, channels, groups, EPSILON),
        Attention(channels, groups),
        ResidualBlock(channels, channels, groups, EPSILON),
    )


class Attention(nn.Module):
    """Single-head self-attention over all frames and bands, with a residual."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, EPSILON)
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(b, c, n, k) to (b, c, n, k)."""
        normed = self.norm(features)
        query, key, value = (
            project(normed).flatten(2).transpose(1, 2)[:, None]
            for project in (self.query, self.key, self.value)
        )
        attended = F.scaled_dot_product_attention(query, key, value)[:, 0]  # scale d^-1/2
        return features + self.out(attended.transpose(1, 2).reshape(features.shape))

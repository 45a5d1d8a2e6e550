"""The residual block of latent diffusion's image networks (Rombach et al. 2022), without attention."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Group norm, SiLU and convolution, twice, with a residual; with time_dim, a shift that depends on
    the flow's time.

    time_dim: width of the time embedding, 0 for none. norm_epsilon: 1e-6 in autoencoders, 1e-5 in
    U-Nets.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm_groups: int,
        norm_epsilon: float,
        time_dim: int = 0,
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(norm_groups, in_channels, norm_epsilon)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time = nn.Linear(time_dim, out_channels) if time_dim else None
        self.norm2 = nn.GroupNorm(norm_groups, out_channels, norm_epsilon)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        changes = in_channels != out_channels
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if changes else nn.Identity()

    def forward(self, features: Tensor, time: Tensor | None = None) -> Tensor:
        """features (b, c, n, k) and, with time_dim, time (b, time_dim) to (b, c', n, k)."""
        hidden = self.conv1(F.silu(self.norm1(features)))
        if self.time is not None:
            assert time is not None
            hidden = hidden + self.time(F.silu(time))[:, :, None, None]
        hidden = self.conv2(F.silu(self.norm2(hidden)))
        return self.shortcut(features) + hidden


class Upsample(nn.Module):
    """Nearest-neighbour upsampling by two, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """(b, c, n, k) to (b, c, 2 n, 2 k)."""
        return self.conv(F.interpolate(features, scale_factor=2.0, mode="nearest"))


def zeroed(module: nn.Module) -> nn.Module:
    """The module with all weights set to zero, in place: added to something, it changes nothing at
    first."""
    for weight in module.parameters():
        nn.init.zeros_(weight)
    return module

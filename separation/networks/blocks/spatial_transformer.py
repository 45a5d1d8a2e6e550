"""Transformer over all positions of a feature map, with or without a context (Rombach et al. 2022)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .diffusion_residual import zeroed

FEED_FORWARD_FACTOR = 4


class SpatialTransformer(nn.Module):
    """Self-attention, attention to the context (or self-attention again without one), and a
    feed-forward part.

    context_dim: width of the context's tokens, 0 for none.
    """

    def __init__(
        self, channels: int, context_dim: int, head_channels: int, norm_groups: int
    ) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(norm_groups, channels, 1e-6)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))
        self.attention1 = Attention(channels, channels, head_channels)
        self.attention2 = Attention(channels, context_dim or channels, head_channels)
        self.feed_forward = GatedFeedForward(channels)
        self.proj_out = zeroed(nn.Conv2d(channels, channels, 1))

    def forward(
        self, features: Tensor, context: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """features (b, c, n, k), context (b, l, d) with mask (b, l) bool, True for real tokens; to
        (b, c, n, k)."""
        positions = self.proj_in(self.norm(features)).flatten(2).transpose(1, 2)
        normed = self.norm1(positions)
        positions = positions + self.attention1(normed, normed)
        normed = self.norm2(positions)
        positions = positions + self.attention2(
            normed, normed if context is None else context, mask
        )
        positions = positions + self.feed_forward(self.norm3(positions))
        return features + self.proj_out(positions.transpose(1, 2).reshape(features.shape))


class Attention(nn.Module):
    """Multi-head attention; a head is head_channels neighbouring channels."""

    def __init__(self, channels: int, context_dim: int, head_channels: int) -> None:
        super().__init__()
        self.head_channels = head_channels
        self.query = nn.Linear(channels, channels, bias=False)
        self.key = nn.Linear(context_dim, channels, bias=False)
        self.value = nn.Linear(context_dim, channels, bias=False)
        self.out = nn.Linear(channels, channels)

    def forward(self, positions: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """positions (b, n, c), context (b, l, d) with mask (b, l) bool to (b, n, c)."""
        query, key, value = (
            projected.unflatten(-1, (-1, self.head_channels)).transpose(1, 2)
            for projected in (self.query(positions), self.key(context), self.value(context))
        )
        allowed = None if mask is None else mask[:, None, None]
        attended = F.scaled_dot_product_attention(query, key, value, allowed)  # scale d^-1/2
        return self.out(attended.transpose(1, 2).flatten(2))


class GatedFeedForward(nn.Module):
    """Feed-forward part with exact GELU of one half as gate (Shazeer 2020, "GEGLU")."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.expand = nn.Linear(channels, 2 * FEED_FORWARD_FACTOR * channels)
        self.reduce = nn.Linear(FEED_FORWARD_FACTOR * channels, channels)

    def forward(self, positions: Tensor) -> Tensor:
        """(b, n, c) to (b, n, c)."""
        weight, bias, width = self.expand.weight, self.expand.bias, self.reduce.in_features
        # Two products: a runtime splits constant weights once, but would split one product at every call.
        values = F.linear(positions, weight[:width], bias[:width])
        gates = F.linear(positions, weight[width:], bias[width:])
        return self.reduce(values * F.gelu(gates))

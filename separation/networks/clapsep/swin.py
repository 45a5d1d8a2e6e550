"""Swin transformer blocks over square maps (Liu et al. 2021, arXiv 2103.14030), with merging and
expansion of patches.

Tokens are row-major, (b, size^2, width). As in HTS-AT (Chen et al. 2022), CLAP's audio encoder.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .lora import linear

MLP_RATIO = 4
# (row, column) of a 2 x 2 cell, in the order of their channels.
CORNERS = (
    (0, 0),
    (1, 0),
    (0, 1),
    (1, 1),
)


def squares(tokens: Tensor, window: int) -> Tensor:
    """Partition into windows: (b, size, size, width) to (b windows, window^2, width)."""
    num_items, size, _, width = tokens.shape
    shape = (num_items, size // window, window, size // window, window, width)
    return tokens.reshape(shape).transpose(2, 3).reshape(-1, window * window, width)


def unsquared(windows: Tensor, size: int, window: int) -> Tensor:
    """Inverse of `squares`: (b windows, window^2, width) to (b, size, size, width)."""
    side, width = size // window, windows.shape[-1]
    grid = windows.reshape(-1, side, side, window, window, width)
    return grid.transpose(2, 3).reshape(-1, size, size, width)


class WindowAttention(nn.Module):
    """Attention within windows, with a learned bias for each relative position."""

    places: Tensor

    def __init__(self, width: int, num_heads: int, window: int, rank: int) -> None:
        super().__init__()
        self.num_heads, self.window = num_heads, window
        self.qkv = linear(width, 3 * width, rank)
        self.proj = linear(width, width, rank)
        self.bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, num_heads))
        nn.init.trunc_normal_(self.bias_table, std=0.02)
        row, column = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        row, column = row.flatten(), column.flatten()
        down = row[:, None] - row + window - 1
        right = column[:, None] - column + window - 1
        self.register_buffer("places", down * (2 * window - 1) + right, persistent=False)

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        """windows (b w, k, width), mask (w, k, k), added to the scores, or None; to (b w, k, width)."""
        parts = self.qkv(windows).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts
        bias = self.bias_table[self.places].permute(2, 0, 1)[None]
        if mask is not None:
            bias = (bias + mask[:, None]).repeat(len(windows) // len(mask), 1, 1, 1)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.proj(attended.transpose(1, 2).flatten(2))


class SwinBlock(nn.Module):
    """Window attention and an MLP, each after a norm and with a residual.

    size: side of the map; shifted: windows are shifted by half their side, unless one covers the whole
    map. rank: of the attention's low-rank updates, 0 for ordinary layers. drop: probability that a
    branch is skipped for an item in training (stochastic depth, Huang et al. 2016).
    """

    mask: Tensor | None

    def __init__(
        self,
        width: int,
        num_heads: int,
        size: int,
        window: int,
        shifted: bool = False,
        rank: int = 0,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.size, self.window, self.drop = size, min(window, size), drop
        self.shift = window // 2 if shifted and size > window else 0
        self.norm1 = nn.LayerNorm(width)
        self.attention = WindowAttention(width, num_heads, self.window, rank)
        self.norm2 = nn.LayerNorm(width)
        self.widen = nn.Linear(width, MLP_RATIO * width)
        self.narrow = nn.Linear(MLP_RATIO * width, width)
        self.register_buffer("mask", self.shift_mask() if self.shift else None, persistent=False)

    def shift_mask(self) -> Tensor:
        """(windows, k, k): 0 between positions that were neighbours before the shift, otherwise -100."""
        region = torch.zeros(self.size)
        region[self.size - self.window : self.size - self.shift] = 1
        region[self.size - self.shift :] = 2
        regions = 3 * region[:, None] + region
        of_window = squares(regions[None, ..., None], self.window)[..., 0]
        return torch.where(of_window[:, None] == of_window[:, :, None], 0.0, -100.0)

    def forward(self, tokens: Tensor) -> Tensor:
        """(b, size^2, width) to (b, size^2, width)."""
        grid = self.norm1(tokens).unflatten(1, (self.size, self.size))
        grid = grid.roll((-self.shift, -self.shift), (1, 2)) if self.shift else grid
        attended = self.attention(squares(grid, self.window), self.mask)
        grid = unsquared(attended, self.size, self.window)
        grid = grid.roll((self.shift, self.shift), (1, 2)) if self.shift else grid
        tokens = tokens + self.with_stochastic_depth(grid.flatten(1, 2))
        mlp = self.narrow(F.gelu(self.widen(self.norm2(tokens))))
        return tokens + self.with_stochastic_depth(mlp)

    def with_stochastic_depth(self, branch: Tensor) -> Tensor:
        """The branch (b, k, width) after stochastic depth."""
        if not self.training or not self.drop:
            return branch
        stays = torch.rand(len(branch), 1, 1, device=branch.device) >= self.drop
        return branch * stays / (1 - self.drop)


class PatchMerging(nn.Module):
    """Joins cells of 2 x 2 tokens."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """(b, size^2, width) to (b, size^2 / 4, 2 width)."""
        grid = tokens.unflatten(1, (self.size, self.size))
        cells = torch.cat([grid[:, row::2, column::2] for row, column in CORNERS], dim=-1)
        return self.reduction(self.norm(cells.flatten(1, 2)))


class PatchExpand(nn.Module):
    """Splits each token into 2 x 2 tokens."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.expand = nn.Linear(2 * width, 4 * width, bias=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(b, size^2, 2 width) to (b, 4 size^2, width)."""
        cells = self.expand(tokens).unflatten(1, (self.size, self.size)).chunk(4, dim=-1)
        columns = [torch.stack([cells[top], cells[top + 1]], dim=2) for top in (0, 2)]
        rows = [pair.flatten(1, 2) for pair in columns]  # each (b, 2 size, size, width)
        grid = torch.stack(rows, dim=3).flatten(2, 3)
        return self.norm(grid.flatten(1, 2))

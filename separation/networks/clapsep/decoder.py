"""CLAPSep's decoder (Ma et al. 2024, arXiv 2402.17455): from HTS-AT's features and two queries to a
mask."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .htsat import FOLDS, PATCH, HTSATConfig
from .swin import PatchExpand, SwinBlock

NORM_MOMENTUM = 0.01
MLP_RATIO = 4


class QueriedSkip(nn.Module):
    """Skip connection conditioned on the queries and joined with the decoder's features:
    LN(gamma f + beta [+ h])."""

    def __init__(self, width: int, condition_dim: int) -> None:
        super().__init__()
        self.features = nn.Linear(width, width)
        self.gamma = nn.Linear(condition_dim, width)
        self.beta = nn.Linear(condition_dim, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, features: Tensor, condition: Tensor, hidden: Tensor | None = None) -> Tensor:
        """features, hidden (q, k, width), condition (q, condition_dim) to (q, k, width)."""
        gamma, beta = self.gamma(condition)[:, None], self.beta(condition)[:, None]
        joined = gamma * self.features(features) + beta
        return self.norm(joined if hidden is None else joined + hidden)


class Level(nn.Module):
    """Patch expansion to twice the size, except at the lowest level, and one Swin block."""

    def __init__(
        self, width: int, num_heads: int, size: int, window: int, deepest: bool, drop: float
    ) -> None:
        super().__init__()
        self.expand = None if deepest else PatchExpand(width, size // 2)
        self.block = SwinBlock(width, num_heads, size, window, drop=drop)

    def forward(self, hidden: Tensor) -> Tensor:
        """(q, k, 2 width) to (q, 4 k, width), or at the lowest level (q, k, width) to the same."""
        return self.block(hidden if self.expand is None else self.expand(hidden))


class MaskNet(nn.Module):
    """A transformer over frames between two linear layers."""

    def __init__(self, num_in: int, num_out: int, width: int, num_layers: int, heads: int) -> None:
        super().__init__()
        self.first = nn.Linear(num_in, width)
        self.norm = nn.LayerNorm(width)
        layer = nn.TransformerEncoderLayer(
            width, heads, MLP_RATIO * width, dropout=0.0, batch_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, num_layers, enable_nested_tensor=False)
        self.last = nn.Linear(width, num_out)

    def forward(self, frames: Tensor) -> Tensor:
        """(q, n, num_in) to (q, n, num_out), linear output."""
        return self.last(self.transformer(self.norm(self.first(frames))))


class CLAPSepDecoder(nn.Module):
    """Maps features of HTS-AT, magnitudes and query conditions to mask logits.

    num_bins: of the magnitudes. mask_width, num_mask_layers, num_mask_heads: of the transformer at the
    end. drop: stochastic depth of the lowest level; it falls linearly to 0 at the highest.
    """

    def __init__(
        self,
        encoder: HTSATConfig,
        condition_dim: int,
        num_bins: int,
        mask_width: int,
        num_mask_layers: int,
        num_mask_heads: int,
        drop: float,
    ) -> None:
        super().__init__()
        widths, sizes = encoder.widths()[::-1], encoder.sizes()[::-1]
        self.num_mels, self.last_size = encoder.num_mels, sizes[-1]
        num_levels = len(widths)
        self.bottom = QueriedSkip(widths[0], condition_dim)
        self.levels = nn.ModuleList(
            Level(
                widths[level],
                encoder.num_heads[num_levels - 1 - level],
                sizes[level],
                encoder.window,
                deepest=level == 0,
                drop=drop * (1 - level / max(1, num_levels - 1)),
            )
            for level in range(num_levels)
        )
        self.skips = nn.ModuleList(QueriedSkip(width, condition_dim) for width in widths)
        self.last_norm = nn.LayerNorm(widths[-1])
        self.pixels = nn.ConvTranspose2d(widths[-1], 1, PATCH, PATCH)
        self.bin_norm = nn.BatchNorm1d(num_bins, momentum=NORM_MOMENTUM)
        self.mask = MaskNet(
            num_bins + encoder.num_mels, num_bins, mask_width, num_mask_layers, num_mask_heads
        )
        self.apply(initialise)

    def forward(
        self, features: list[Tensor], magnitude: Tensor, item: Tensor, condition: Tensor
    ) -> Tensor:
        """features: as HTSAT returns them, for b recordings; magnitude (b, f, n); item (q,), the index
        of the recording that each condition (q, condition_dim) is about; to logits (q, f, n)."""
        hidden = self.bottom(features[-1][item], condition)
        for level, skip, encoded in zip(self.levels, self.skips, features[-2::-1], strict=True):
            hidden = skip(encoded[item], condition, level(hidden))
        grid = self.last_norm(hidden).transpose(1, 2).unflatten(2, (self.last_size, self.last_size))
        folded = self.pixels(grid)[:, 0]  # (q, FOLDS * num_mels, frames of a fold)
        unfolded = folded.unflatten(1, (FOLDS, self.num_mels)).transpose(1, 2).flatten(2)
        frames = torch.cat(
            [self.bin_norm(magnitude)[item], unfolded[..., : magnitude.shape[-1]]], dim=1
        )
        return self.mask(frames.transpose(1, 2)).transpose(1, 2)


def initialise(module: nn.Module) -> None:
    """For Module.apply: initial weights of linear layers as in the authors' code."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

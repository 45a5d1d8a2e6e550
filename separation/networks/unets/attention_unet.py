"""The U-Net of bi-modal weakly supervised separation: residual blocks, and attention to tokens at the
lowest levels.

Mahmud et al., "Weakly-supervised audio separation via bi-modal semantic similarity" (2024); the shape
is that of CLIPSep's U-Net (`clipsep_unet.py`) with norms and activations after the convolutions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..blocks.query_attention import QueryAttention

SLOPE = 0.2  # of the leaky ReLUs


class Residual(nn.Module):
    """3 x 3 convolution and batch norm with a residual, then the activation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, hidden: Tensor) -> Tensor:
        """(q, c, h, w) to (q, c, h, w)."""
        return F.leaky_relu(self.norm(self.conv(hidden)) + hidden, SLOPE)


class Down(nn.Module):
    """Strided convolution to half the height and width, then a residual block."""

    def __init__(self, num_in: int, num_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_in, num_out, 4, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(num_out)
        self.residual = Residual(num_out)

    def forward(self, hidden: Tensor) -> Tensor:
        """(q, num_in, h, w) to (q, num_out, h / 2, w / 2)."""
        return self.residual(F.leaky_relu(self.norm(self.conv(hidden)), SLOPE))


class Up(nn.Module):
    """Residual block and interpolation to twice the size. The outermost has a bias and a linear output,
    others norm and ReLU."""

    def __init__(self, num_in: int, num_out: int, outermost: bool) -> None:
        super().__init__()
        self.residual = Residual(num_in)
        self.conv = nn.Conv2d(num_in, num_out, 3, padding=1, bias=outermost)
        self.norm = None if outermost else nn.BatchNorm2d(num_out)

    def forward(self, hidden: Tensor) -> Tensor:
        """(q, num_in, h, w) to (q, num_out, 2 h, 2 w)."""
        upsampled = F.interpolate(hidden, scale_factor=2, mode="bilinear", align_corners=True)
        upsampled = self.conv(self.residual(upsampled))
        return upsampled if self.norm is None else F.relu(self.norm(upsampled))


class AttentionUNet(nn.Module):
    """Spectrograms and tokens of queries to features with linear output.

    channels: of each level, outermost first; the num_attentive lowest levels attend to the tokens. The
    encoder levels above those are computed once for each spectrogram. The last frame is repeated to a
    multiple of `stride` frames.

    The receptive field is not finite: interpolation with aligned corners depends on the number of
    frames.
    """

    varying_axes: tuple[int, ...] = ()  # see networks/exportable.py; segments are of one length

    def __init__(
        self,
        num_out: int,
        channels: tuple[int, ...],
        num_attentive: int,
        num_heads: int,
        token_dim: int,
    ) -> None:
        super().__init__()
        self.stride = 2 ** len(channels)
        self.num_plain = len(channels) - num_attentive
        self.norm = nn.BatchNorm2d(1)
        self.downs = nn.ModuleList()
        self.ups = nn.ModuleList()  # self.ups[level] undoes self.downs[level]
        bottom = len(channels) - 1
        for level, width in enumerate(channels):
            self.downs.append(Down(channels[level - 1] if level else 1, width))
            num_in = width if level == bottom else 2 * width
            self.ups.append(Up(num_in, channels[level - 1] if level else num_out, level == 0))
        self.attentions = nn.ModuleList(
            QueryAttention(width, num_heads, token_dim) for width in channels[self.num_plain :]
        )

    def forward(
        self, spectrogram: Tensor, item: Tensor, tokens: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """spectrogram (b, k, n), k a multiple of `stride`; item (q,), the index of the spectrogram each
        query is about; tokens (q, l, token_dim) with mask (q, l) bool, True for real tokens; to
        (q, num_out, k, n)."""
        num_frames = spectrogram.shape[-1]
        padded = spectrogram[:, None]
        if missing := -num_frames % self.stride:
            padded = F.pad(padded, (0, missing, 0, 0), mode="replicate")
        hidden = self.norm(padded)
        skips = []
        for down in self.downs[: self.num_plain]:
            hidden = down(hidden)
            skips.append(hidden[item])
        hidden = skips[-1] if skips else hidden[item]
        for down, attention in zip(self.downs[self.num_plain :], self.attentions, strict=True):
            hidden = attention(down(hidden), tokens, mask)
            skips.append(hidden)
        hidden = skips.pop()
        for up in reversed(self.ups):
            hidden = up(hidden)
            if skips:
                hidden = torch.cat([skips.pop(), hidden], dim=1)
        return hidden[..., :num_frames]

"""The U-Net of bi-modal weakly supervised separation: residual blocks, and at the bottom attention to words.

Mahmud et al., "Weakly-supervised audio separation via bi-modal semantic similarity" (2024), whose
shape is that of CLIPSep's (`clipsep_unet.py`) with norms and activations after the convolutions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..blocks.query_attention import QueryAttention

SLOPE = 0.2  # of the leaky ReLUs


class Residual(nn.Module):
    """A 3 x 3 convolution and its norm around a shortcut, then the activation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, hidden: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(self.conv(hidden)) + hidden, SLOPE)


class Down(nn.Module):
    """Half as high and wide: (q, num_in, h, w) to (q, num_out, h / 2, w / 2)."""

    def __init__(self, num_in: int, num_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_in, num_out, 4, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(num_out)
        self.residual = Residual(num_out)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.residual(F.leaky_relu(self.norm(self.conv(hidden)), SLOPE))


class Up(nn.Module):
    """Twice as high and wide; the outermost has a bias and ends linear, the others end in norm and ReLU."""

    def __init__(self, num_in: int, num_out: int, outermost: bool) -> None:
        super().__init__()
        self.residual = Residual(num_in)
        self.conv = nn.Conv2d(num_in, num_out, 3, padding=1, bias=outermost)
        self.norm = None if outermost else nn.BatchNorm2d(num_out)

    def forward(self, hidden: Tensor) -> Tensor:
        raised = F.interpolate(hidden, scale_factor=2, mode="bilinear", align_corners=True)
        raised = self.conv(self.residual(raised))
        return raised if self.norm is None else F.relu(self.norm(raised))


class AttentionUNet(nn.Module):
    """Spectrograms (b, k, n) and the tokens of q queries to features (q, num_out, k, n), linear output.

    k a multiple of `stride`; the last frame is repeated up to a multiple of it. channels: of each level,
    outermost first; the num_attentive deepest attend to the tokens. What lies above those is computed once
    a spectrogram, whatever is asked.

    Its view is not finite: interpolation with aligned corners depends on the number of frames.
    """

    varying_axes: tuple[int, ...] = ()  # see runtime.py; segments are of one length

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
        """item: (q,), which of the spectrograms each query is about; tokens: (q, l, token_dim); mask:
        (q, l) bool, True where a token is real."""
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

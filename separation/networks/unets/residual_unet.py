"""U-Net of residual blocks over band spectrograms, whose view in time is finite and known.

U-Net: Ronneberger, Fischer and Brox (2015), fig. 1. Residual blocks: He et al. (2016), fig. 2. Pixel shuffle:
Shi et al. (2016), sec. 3.2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..blocks.conv_norm import ResidualBlock, conv_norm

# From here on channels are dropped in training: these levels tell sounds apart.
FIRST_DEEP_LEVEL = 2
TIME_STRIDE = 16  # frames a step at the lowest level


class UNet(nn.Module):
    """U-Net of residual blocks. Inputs (b, num_inputs, k, n) with k a multiple of 32 and n of
    TIME_STRIDE.

    Works at half resolution inside and returns to full by pixel shuffle: on a CPU few wide layers are
    faster than many narrow ones. channels, blocks: width and number of residual blocks of each level.
    """

    varying_axes: tuple[int, ...] = (3,)  # frames; see runtime/rewrite.py

    def __init__(
        self,
        channels: tuple[int, ...],
        blocks: tuple[int, ...],
        features: int,
        channel_dropout: float = 0.0,
        num_inputs: int = 3,
    ) -> None:
        super().__init__()
        self.channel_dropout = channel_dropout
        self.stem = conv_norm(num_inputs, channels[0], kernel=5, stride=(2, 2))
        self.encoders = nn.ModuleList()
        self.downs = nn.ModuleList()
        self.reduces = nn.ModuleList()
        self.decoders = nn.ModuleList()
        for level, (width, depth) in enumerate(zip(channels, blocks, strict=True)):
            self.encoders.append(nn.Sequential(*(ResidualBlock(width) for _ in range(depth))))
            if level + 1 < len(channels):
                stride = (2, 2) if level < 3 else (2, 1)
                self.downs.append(conv_norm(width, channels[level + 1], stride=stride))
                self.reduces.append(nn.Conv2d(channels[level + 1], width, 1, bias=False))
                merge = nn.Sequential(conv_norm(2 * width, width), nn.ReLU(), ResidualBlock(width))
                self.decoders.append(merge)
        self.head = nn.Conv2d(channels[0], 4 * features, 3, padding=1)

    def forward(self, bands: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(b, num_inputs, k, n) to (b, features, k, n). generator: for channel dropout, which is off
        without one."""
        hidden = F.relu(self.stem(bands))
        skips = []
        for level, encoder in enumerate(self.encoders):
            hidden = encoder(hidden)
            if generator is not None and self.channel_dropout and level >= FIRST_DEEP_LEVEL:
                hidden = drop_channels(hidden, self.channel_dropout, generator)
            if level < len(self.downs):
                skips.append(hidden)
                hidden = F.relu(self.downs[level](hidden))
        for level in reversed(range(len(self.decoders))):
            raised = F.interpolate(self.reduces[level](hidden), size=skips[level].shape[-2:])
            hidden = self.decoders[level](torch.cat([raised, skips[level]], dim=1))
        return F.pixel_shuffle(self.head(hidden), 2)


def level_steps(num_levels: int) -> list[int]:
    """Frames from one frame of a level to its next, for each level."""
    return [2 ** min(level + 1, 4) for level in range(num_levels)]


def unet_reach_frames(blocks: tuple[int, ...]) -> int:
    """Receptive field in time: the distance in frames from an output frame to the farthest input frame
    it depends on."""
    steps = level_steps(len(blocks))
    encoders = sum(2 * depth * step for depth, step in zip(blocks, steps, strict=True))
    between = sum((1 + 3) * step for step in steps[:-1])  # a convolution down, three after merging
    raising = TIME_STRIDE - 1  # nearest-neighbour upsampling and pixel shuffle look back only
    return 2 + encoders + between + steps[0] + raising  # 2: the stem; steps[0]: the head


def drop_channels(hidden: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Spatial dropout: zeroes whole channels of hidden (b, c, k, n), and scales the others to keep the
    mean.

    Tompson et al., "Efficient object localization using convolutional networks" (2015), sec. 3.2.
    """
    random = torch.rand((*hidden.shape[:2], 1, 1), generator=generator, device=generator.device)
    return hidden * ((random >= probability) / (1 - probability)).to(hidden)

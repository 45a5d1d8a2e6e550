"""The network that a flow separator evaluates at every step: from the mixture's features and the
current point on the path to the parameters of the velocity in each band.

What does not change along the path is computed once by `prepare`. The rest works at half resolution
with a short receptive field, so that a step costs a fraction of the analysis.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..blocks.conv_norm import ResidualBlock, conv_norm

TIME_WAVES = 8
NUM_STATES = 4  # planes that describe the current point on the path


class VelocityHead(nn.Module):
    """Two planes for each row, a query of a mixture. The last layer starts at zero, so the output does
    too.

    features: d of the analysis. reading: width of a query's reading. num_blocks: residual blocks.
    """

    varying_axes: tuple[int, ...] = (0, 3)  # see networks/exportable.py; rows and frames

    def __init__(self, features: int, reading: int, channels: int, num_blocks: int) -> None:
        super().__init__()
        self.channels = channels
        self.scene = nn.Conv2d(4 * features, channels, 3, padding=1)
        self.state = conv_norm(4 * NUM_STATES, channels)
        self.blocks = nn.ModuleList(ResidualBlock(channels) for _ in range(num_blocks))
        self.query = nn.Linear(reading, channels * (num_blocks + 1), bias=False)
        self.time = nn.Sequential(
            nn.Linear(TIME_WAVES, 4 * TIME_WAVES),
            nn.SiLU(),
            nn.Linear(4 * TIME_WAVES, channels * (num_blocks + 1)),
        )
        self.head = nn.Conv2d(channels, 2 * 4, 3, padding=1)
        nn.init.zeros_(self.query.weight)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def prepare(self, features: Tensor) -> Tensor:
        """Once for each mixture: features (b, d, k, n), k and n even, to (b, channels, k / 2, n / 2)."""
        hidden: Tensor = self.scene(F.pixel_unshuffle(features, 2))
        return hidden

    def condition(self, reading: Tensor, tau: Tensor) -> Tensor:
        """Readings (r, e) of the queries and times (r,) in [0, 1] to the biases of all blocks, (r,
        channels (blocks + 1))."""
        waves = torch.arange(TIME_WAVES, device=tau.device)
        biases: Tensor = self.query(reading) + self.time(torch.cos(math.pi * tau[:, None] * waves))
        return biases

    def forward(self, states: Tensor, scene: Tensor, condition: Tensor) -> Tensor:
        """states (r, 4, k, n), scene (r, channels, k / 2, n / 2), condition as of `condition`, to
        (r, 2, k, n)."""
        biases = condition[:, :, None, None].split(self.channels, dim=1)
        hidden = F.relu(self.state(F.pixel_unshuffle(states, 2)) + scene + biases[0])
        for block, bias in zip(self.blocks, biases[1:], strict=True):
            hidden = block(hidden + bias)
        return F.pixel_shuffle(self.head(hidden), 2)


def head_reach_frames(num_blocks: int) -> int:
    """Receptive field in time: the distance in frames from an output frame to the farthest frame of the
    states it sees."""
    return 2 * (2 + 2 * num_blocks) + 1

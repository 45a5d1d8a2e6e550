"""The small network that a flow separator asks at every step: what the mixture's analysis and the place on
the path say about the target, band by band.

Everything that does not change along the path is computed once, by `prepare`. The rest sees a few frames
around, at half resolution, so that a step costs a fraction of the analysis.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..blocks.conv_norm import ResidualBlock, conv_norm

TIME_WAVES = 8
NUM_STATES = 4  # planes that describe the place


class VelocityHead(nn.Module):
    """features (b, d, k, n) of the analysis, states (r, 4, k, n), k and n even; two planes (r, k, n) out.

    A row r is a query of a mixture. The last layer begins at zero: nothing is known about the place.
    """

    varying_axes: tuple[int, ...] = (0, 3)  # see runtime.py; rows and frames

    def __init__(self, features: int, reading: int, channels: int, num_blocks: int) -> None:
        """features: d; reading: width of what was read of a query."""
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
        """Once a mixture: (b, d, k, n) to (b, channels, k / 2, n / 2)."""
        hidden: Tensor = self.scene(F.pixel_unshuffle(features, 2))
        return hidden

    def condition(self, reading: Tensor, tau: Tensor) -> Tensor:
        """What was read of the queries (r, e) and their times (r,) to biases of all blocks (r, d)."""
        waves = torch.arange(TIME_WAVES, device=tau.device)
        biases: Tensor = self.query(reading) + self.time(torch.cos(math.pi * tau[:, None] * waves))
        return biases

    def forward(self, states: Tensor, scene: Tensor, condition: Tensor) -> Tensor:
        """states (r, 4, k, n), scene (r, channels, k / 2, n / 2), condition (r, d) to (r, 2, k, n)."""
        biases = condition[:, :, None, None].split(self.channels, dim=1)
        hidden = F.relu(self.state(F.pixel_unshuffle(states, 2)) + scene + biases[0])
        for block, bias in zip(self.blocks, biases[1:], strict=True):
            hidden = block(hidden + bias)
        return F.pixel_shuffle(self.head(hidden), 2)


def head_reach_frames(num_blocks: int) -> int:
    """How far, at most, lies a frame of the states that a frame of the output depends on."""
    return 2 * (2 + 2 * num_blocks) + 1

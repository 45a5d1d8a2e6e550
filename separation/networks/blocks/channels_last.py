"""Layers along a line of frames or bands, of features (b, m, l, d) whose channels come last.

m counts the lines of an item, l the positions of a line. On CPUs these layers are several times faster than
torch's over (b m, d, l), forward and backward: a convolution of kernel 1 is a matrix product or a
multiplication, depthwise ones read whole vectors of channels, and nothing is transposed. Each takes the
weights of the torch layer that it stands for, under the same names, and gives what that gives.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class LineConv(nn.Module):
    """A torch convolution along l, padded by half of its odd kernel: (b, m, l, i) to (b, m, l', o).

    conv: nn.Conv1d, or nn.Conv2d of kernel 1; without dilation.
    """

    def __init__(self, conv: nn.Conv1d | nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.kernel, self.stride, self.groups = conv.kernel_size[-1], conv.stride[-1], conv.groups

    def forward(self, lines: Tensor) -> Tensor:
        """(b, m, l, i) to (b, m, l', o), l' = l at stride 1."""
        if self.kernel == 1 and self.groups == 1:
            return F.linear(lines, self.weight.flatten(1), self.bias)
        if self.kernel == 1:  # depthwise
            scaled = lines * self.weight.flatten()
            return scaled if self.bias is None else scaled + self.bias
        planes = F.conv2d(
            lines.permute(0, 3, 1, 2),  # in memory the channels stay last
            self.weight[:, :, None],
            self.bias,
            stride=(1, self.stride),
            padding=(0, self.kernel // 2),
            groups=self.groups,
        )
        return planes.permute(0, 2, 3, 1)


class LineNorm(nn.Module):
    """nn.GroupNorm of one group, over the positions and channels of each line."""

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        norm = nn.GroupNorm(1, channels)
        self.weight, self.bias, self.eps = norm.weight, norm.bias, eps

    def forward(self, lines: Tensor) -> Tensor:
        """(b, m, l, d) to (b, m, l, d)."""
        size = lines.shape[-2:]
        return F.layer_norm(lines, size, self.weight.expand(size), self.bias.expand(size), self.eps)


def resized(lines: Tensor, length: int) -> Tensor:
    """The nearest position for each of `length` new ones: (b, m, l, d) to (b, m, length, d)."""
    planes = lines.permute(0, 3, 1, 2)
    return F.interpolate(planes, size=(lines.shape[1], length)).permute(0, 2, 3, 1)


def pooled(lines: Tensor, length: int) -> Tensor:
    """Means of `length` stretches of each line: (b, m, l, d) to (b, m, length, d)."""
    planes = lines.permute(0, 3, 1, 2)
    return F.adaptive_avg_pool2d(planes, (lines.shape[1], length)).permute(0, 2, 3, 1)

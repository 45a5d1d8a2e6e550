"""Convolution with batch norm, and the basic residual block (He et al. 2016, fig. 2)."""

import torch.nn.functional as F
from torch import Tensor, nn


def conv_norm(
    num_in: int, num_out: int, kernel: int = 3, stride: tuple[int, int] = (1, 1)
) -> nn.Module:
    """2-d convolution without bias, then batch norm; at stride 1 the size stays."""
    conv = nn.Conv2d(num_in, num_out, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(num_out))


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with batch norm, and a residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv_norm(channels, channels)
        self.second = conv_norm(channels, channels)

    def forward(self, hidden: Tensor) -> Tensor:
        """(b, d, k, n) to (b, d, k, n), non-negative."""
        return F.relu(hidden + self.second(F.relu(self.first(hidden))))

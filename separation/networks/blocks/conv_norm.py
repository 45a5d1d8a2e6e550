"""Convolutions with batch norm, and the residual block made of two (He et al. 2016)."""

import torch.nn.functional as F
from torch import Tensor, nn


def conv_norm(
    num_in: int, num_out: int, kernel: int = 3, stride: tuple[int, int] = (1, 1)
) -> nn.Module:
    conv = nn.Conv2d(num_in, num_out, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(num_out))


class ResidualBlock(nn.Module):
    """Two normalised convolutions beside the identity; keeps the shape (b, d, k, n)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv_norm(channels, channels)
        self.second = conv_norm(channels, channels)

    def forward(self, hidden: Tensor) -> Tensor:
        return F.relu(hidden + self.second(F.relu(self.first(hidden))))

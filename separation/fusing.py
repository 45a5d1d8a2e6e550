"""A network rewritten for use: the same function of its inputs, in fewer operations.

Batch norms are folded into the convolutions before them, and a convolution after an interpolation is
done where there are fewer pixels. Both change results by rounding alone, and neither can be trained.
"""

from __future__ import annotations

import copy
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def fused(network: nn.Module) -> nn.Module:
    """A copy of the network for evaluation, in channels-last order; the network stays as it is.

    What is rewritten stands side by side in an nn.Sequential; other layers are left alone.
    """
    taken = vars(network).get("forward")  # by a runtime, which the copy does without
    rewritten = copy.deepcopy(network, {id(taken): None}).eval().requires_grad_(False)
    vars(rewritten).pop("forward", None)
    for module in list(rewritten.modules()):
        if isinstance(module, nn.Sequential):
            fold_norms(module)
            merge_raising(module)
    return rewritten.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def fold_norms(layers: nn.Sequential) -> None:
    for index in range(len(layers) - 1):
        conv, norm = layers[index], layers[index + 1]
        if type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d:
            layers[index] = nn.utils.fuse_conv_bn_eval(conv, norm)
            layers[index + 1] = nn.Identity()


def merge_raising(layers: nn.Sequential) -> None:
    for index in range(len(layers) - 1):
        upsample, conv = layers[index], layers[index + 1]
        if is_bilinear_doubling(upsample) and is_same_3x3(conv):
            layers[index] = nn.Identity()
            layers[index + 1] = RaisingConv(conv)


def is_bilinear_doubling(layer: nn.Module) -> bool:
    return (
        isinstance(layer, nn.Upsample)
        and layer.mode == "bilinear"
        and bool(layer.align_corners)
        and layer.scale_factor == 2.0
    )


def is_same_3x3(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    return type(layer) is nn.Conv2d and (
        (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups)
        == ((3, 3), (1, 1), (1, 1), (1, 1), 1)
    )


class RaisingConv(nn.Module):
    """nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), then a 3 x 3 convolution, with
    half of the multiplications: (b, num_in, k, n) to (b, num_out, 2 k, 2 n).

    Interpolation works on rows and columns apart and on each channel alone, so what mixes channels may
    come between. After raising n, one convolution along n makes the terms of the kernel's three rows;
    each is raised along k, and they are summed one row apart.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.num_out = conv.out_channels
        rows = conv.weight.permute(2, 0, 1, 3).flatten(0, 1)[:, :, None]
        self.weight = nn.Parameter(rows.detach().contiguous(), requires_grad=False)
        bias = conv.weight.new_zeros(3, self.num_out)
        if conv.bias is not None:
            bias[1] = conv.bias
        self.bias = nn.Parameter(bias.flatten().detach(), requires_grad=False)

    def forward(self, hidden: Tensor) -> Tensor:
        num_rows, num_columns = 2 * hidden.shape[-2], 2 * hidden.shape[-1]
        wide = interpolate(hidden, (hidden.shape[-2], num_columns))
        terms = F.conv2d(wide, self.weight, self.bias, padding=(0, 1))
        above, here, below = interpolate(terms, (num_rows, num_columns)).split(self.num_out, dim=1)
        return F.pad(above, (0, 0, 1, -1)) + here + F.pad(below, (0, 0, -1, 1))


def interpolate(hidden: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(hidden, size=size, mode="bilinear", align_corners=True)

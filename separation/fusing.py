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

BLOCK = 32  # rows of an interpolation's matrix at once; of 32, 64 and all the fastest


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
    a quarter of the multiplications by weights: (b, num_in, k, n) to (b, num_out, 2 k, 2 n).

    Interpolation works on rows and columns apart and on each channel alone, so what mixes channels may
    come before it: the nine terms of the kernel are made where there are fewer places, and moved to
    theirs by two matrices that interpolate, shift and sum, one for columns and one for rows.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.num_out = conv.out_channels
        terms = conv.weight.detach().permute(2, 3, 0, 1).flatten(0, 2)  # by row, column, output
        self.weight = nn.Parameter(terms[..., None, None], requires_grad=False)
        bias = conv.weight.new_zeros(self.num_out) if conv.bias is None else conv.bias
        self.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)

    def forward(self, hidden: Tensor) -> Tensor:
        num_items, _, num_rows, num_columns = hidden.shape
        terms = [
            F.conv2d(hidden, weight).permute(0, 2, 3, 1)  # (b, k, n, 3 num_out)
            for weight in self.weight.split(3 * self.num_out)
        ]
        rows = torch.stack(terms, dim=2).reshape(3 * num_items * num_rows, -1, self.num_out)
        wide = doubled(rows, num_columns).reshape(num_items, 3 * num_rows, -1)
        raised = doubled(wide, num_rows).reshape(num_items, 2 * num_rows, -1, self.num_out)
        return (raised + self.bias).permute(0, 3, 1, 2)


def doubled(terms: Tensor, num: int) -> Tensor:
    """(b, 3 num, d), of each place the terms for the place before it, for itself and for the one after,
    to their sums at twice as many places: (b, 2 num, d). The matrix is taken in blocks of BLOCK rows,
    beyond whose band it is zero."""
    places = torch.eye(num, dtype=torch.float64)[None]
    raised = F.interpolate(places, size=2 * num, mode="linear", align_corners=True)[0]
    taps = F.pad(raised, (1, 1)).unfold(-1, 2 * num, 1)  # [place, term, place after doubling]
    matrix = taps.flatten(0, 1).T.to(terms)
    blocks = []
    for start in range(0, 2 * num, BLOCK):
        first = max(0, start - 1) * (num - 1) // (2 * num - 1)
        last = min(num - 1, (start + BLOCK) * (num - 1) // (2 * num - 1) + 1)
        band = slice(3 * first, 3 * last + 3)
        blocks.append(matrix[start : start + BLOCK, band] @ terms[:, band])
    return torch.cat(blocks, dim=1)

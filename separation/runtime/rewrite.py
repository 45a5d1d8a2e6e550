"""A network rewritten for inference: the same function of its inputs, in fewer operations.

Batch norms are folded into the convolutions before them. Convolutions of interpolated, repeated or
zero-stuffed inputs are computed at the lower resolution, since interpolation commutes with mixing channels.
For ONNX graphs, images with few columns are transposed, since runtimes vectorise along rows. All this
changes results by rounding alone, and none of it can be trained.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, channels_last, nn

from ..networks.blocks.diffusion_residual import Upsample

BLOCK = 32  # rows of an interpolation's matrix at once; of 32, 64 and all the fastest


def fused(network: nn.Module) -> nn.Module:
    """A copy of the network for evaluation, in channels-last order; the network stays as it is.

    Layers that are rewritten together stand side by side in an nn.Sequential. Weights that are not
    rewritten are shared with the network, if it is in channels-last order too.
    """
    rewritten = copied(network).eval()
    for module in list(rewritten.modules()):
        if isinstance(module, nn.Sequential):
            fold_norms(module)
            merge_raising(module)
        for name, layer in module.named_children():
            if isinstance(layer, Upsample):
                setattr(module, name, RepeatingConv(layer.conv))
            elif is_spreading(layer):
                setattr(module, name, SpreadingConv(layer))
    replace_weights(rewritten, in_channels_last)
    return rewritten


def copied(network: nn.Module) -> nn.Module:
    """Modules of its own and the same weights; without what a runtime put in place of `forward`."""
    shared = {id(weight): weight for weight in (*network.parameters(), *network.buffers())}
    taken = vars(network).get("forward")
    own: nn.Module = copy.deepcopy(network, {id(taken): None, **shared})
    vars(own).pop("forward", None)
    return own


def replace_weights(network: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
    """By what `change` makes of them, parameters without gradient; those that they were stay so."""
    for module in network.modules():
        for name, weight in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(change(weight.detach()), requires_grad=False))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, change(buffer))


def in_channels_last(weight: Tensor) -> Tensor:
    return weight.contiguous(memory_format=channels_last) if weight.dim() == 4 else weight


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


def is_spreading(layer: nn.Module) -> TypeGuard[nn.ConvTranspose1d]:
    return type(layer) is nn.ConvTranspose1d and (
        (layer.dilation, layer.groups, layer.output_padding) == ((1,), 1, (0,))
    )


def turned(network: nn.Module) -> nn.Module:
    """The network, if its class says `narrow_inputs`, in a copy that works on its images turned.

    narrow_inputs: the places of its inputs that are images with few columns. The network gives one such
    image, and treats rows and columns alike but for its kernels.
    """
    images: tuple[int, ...] = getattr(network, "narrow_inputs", ())
    if not images:
        return network
    own = copied(network)
    replace_weights(own, lambda weight: weight.transpose(-1, -2) if weight.dim() == 4 else weight)
    return Turned(own, images)


class Turned(nn.Module):
    """Images with rows and columns exchanged around a network whose kernels are turned."""

    def __init__(self, network: nn.Module, images: tuple[int, ...]) -> None:
        super().__init__()
        self.network, self.images = network, images

    def forward(self, *inputs: Tensor) -> Tensor:
        entries = [
            entry.transpose(-1, -2) if place in self.images else entry
            for place, entry in enumerate(inputs)
        ]
        output: Tensor = self.network(*entries)
        return output.transpose(-1, -2)


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


class RepeatingConv(nn.Module):
    """Each row and column twice, then a 3 x 3 convolution, with 4/9 of the multiplications by weights:
    (b, num_in, k, n) to (b, num_out, 2 k, 2 n).

    A kernel's three rows lie on two rows of the input: before the first of a pair of places on the one
    before and, both others, on their own; so for every one of four places in a square there is a kernel
    of 2 x 2.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        weight = conv.weight.detach()
        rows = folded(weight, axis=2)
        self.kernels = nn.ParameterList(
            nn.Parameter(kernel.contiguous(), requires_grad=False)
            for half in rows
            for kernel in folded(half, axis=3)
        )
        bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.detach()
        self.bias = nn.Parameter(bias.clone(), requires_grad=False)

    def forward(self, hidden: Tensor) -> Tensor:
        num_items, _, num_rows, num_columns = hidden.shape
        parts = []
        for index, kernel in enumerate(self.kernels):
            row, column = divmod(index, 2)
            seen = F.pad(hidden, (1 - column, column, 1 - row, row))
            parts.append(F.conv2d(seen, kernel, self.bias).permute(0, 2, 3, 1))
        square = torch.stack(parts, dim=3).unflatten(3, (2, 2))  # (b, k, n, 2, 2, num_out)
        raised = square.transpose(2, 3).reshape(num_items, 2 * num_rows, 2 * num_columns, -1)
        return raised.permute(0, 3, 1, 2)


def folded(weight: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Kernels of 3 along the axis to those of 2 for the first and for the second of two equal places."""
    first, second, third = weight.split(1, dim=axis)
    return torch.cat([first, second + third], axis), torch.cat([first + second, third], axis)


class SpreadingConv(nn.Module):
    """An nn.ConvTranspose1d of stride r as a convolution that makes r neighbouring places of each:
    (b, num_in, n) to (b, num_out, (n - 1) r - 2 padding + kernel)."""

    def __init__(self, conv: nn.ConvTranspose1d) -> None:
        super().__init__()
        (kernel,), (self.stride,), padding = conv.kernel_size, conv.stride, conv.padding
        assert isinstance(padding, tuple)  # "same" is of other convolutions
        self.trimmed, self.num_more = padding[0], kernel - self.stride - 2 * padding[0]
        self.num_terms = -(-kernel // self.stride)
        taps = F.pad(conv.weight.detach(), (0, self.num_terms * self.stride - kernel))
        taps = taps.unflatten(-1, (self.num_terms, self.stride))  # (num_in, num_out, term, r)
        weight = taps.flip(2).permute(3, 1, 0, 2).flatten(0, 1).contiguous()
        self.weight = nn.Parameter(weight, requires_grad=False)
        bias = taps.new_zeros(taps.shape[1]) if conv.bias is None else conv.bias.detach()
        self.bias = nn.Parameter(bias.repeat(self.stride), requires_grad=False)

    def forward(self, hidden: Tensor) -> Tensor:
        num_out = self.stride * hidden.shape[-1] + self.num_more
        parts = F.conv1d(hidden, self.weight, self.bias, padding=self.num_terms - 1)
        places = parts.unflatten(1, (self.stride, -1)).permute(0, 2, 3, 1).flatten(2)
        return places[..., self.trimmed : self.trimmed + num_out]

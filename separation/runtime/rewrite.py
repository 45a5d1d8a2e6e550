"""Rewriting a network for inference: the same function of its inputs, in fewer operations.

Batch norms are folded into the convolutions before them. Convolutions of interpolated, repeated or
zero-stuffed inputs are computed at the lower resolution, since interpolation commutes with mixing channels.
For ONNX graphs, images with few columns are transposed, since runtimes vectorise along rows. Results change
by rounding only, and rewritten networks cannot be trained.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, channels_last, nn

from ..networks.blocks.diffusion_residual import Upsample
from ..networks.exportable import Narrow

BLOCK = 32  # rows of an interpolation matrix at once; the fastest of 32, 64 and all


def fused(network: nn.Module) -> nn.Module:
    """A rewritten copy of the network for evaluation, in channels-last order.

    Layers that are rewritten together are neighbours in an nn.Sequential. Weights that are not rewritten are
    shared with the network, if it is in channels-last order too.
    """
    rewritten = copied(network).eval()
    for module in list(rewritten.modules()):
        if isinstance(module, nn.Sequential):
            fold_norms(module)
            merge_upsampling(module)
        for name, layer in module.named_children():
            if isinstance(layer, Upsample):
                setattr(module, name, NearestUpsampleConv(layer.conv))
            elif is_simple_transposed(layer):
                setattr(module, name, SubpixelConv(layer))
    replace_weights(rewritten, in_channels_last)
    return rewritten


def copied(network: nn.Module) -> nn.Module:
    """A copy of the modules that shares the weights, with the class's `forward` instead of a runtime's."""
    shared = {id(weight): weight for weight in (*network.parameters(), *network.buffers())}
    replaced_forward = vars(network).get("forward")
    copied: nn.Module = copy.deepcopy(network, {id(replaced_forward): None, **shared})
    vars(copied).pop("forward", None)
    return copied


def replace_weights(network: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
    """Replace every parameter and buffer by `change` of it; parameters no longer require gradients."""
    for module in network.modules():
        for name, weight in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(change(weight.detach()), requires_grad=False))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, change(buffer))


def in_channels_last(weight: Tensor) -> Tensor:
    """Four-dimensional weights in channels-last memory order, others as they are."""
    return weight.contiguous(memory_format=channels_last) if weight.dim() == 4 else weight


def fold_norms(layers: nn.Sequential) -> None:
    """Fold each batch norm that follows a 2-D convolution into it, in place."""
    for index in range(len(layers) - 1):
        conv, norm = layers[index], layers[index + 1]
        if type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d:
            layers[index] = nn.utils.fuse_conv_bn_eval(conv, norm)
            layers[index + 1] = nn.Identity()


def merge_upsampling(layers: nn.Sequential) -> None:
    """Merge each bilinear doubling and the 3 x 3 convolution after it, in place."""
    for index in range(len(layers) - 1):
        upsample, conv = layers[index], layers[index + 1]
        if is_bilinear_doubling(upsample) and is_same_3x3(conv):
            layers[index] = nn.Identity()
            layers[index + 1] = BilinearUpsampleConv(conv)


def is_bilinear_doubling(layer: nn.Module) -> bool:
    """Whether a layer doubles rows and columns by bilinear interpolation with aligned corners."""
    return (
        isinstance(layer, nn.Upsample)
        and layer.mode == "bilinear"
        and bool(layer.align_corners)
        and layer.scale_factor == 2.0
    )


def is_same_3x3(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether a layer is a plain 3 x 3 convolution that keeps rows and columns."""
    return type(layer) is nn.Conv2d and (
        (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups)
        == ((3, 3), (1, 1), (1, 1), (1, 1), 1)
    )


def is_simple_transposed(layer: nn.Module) -> TypeGuard[nn.ConvTranspose1d]:
    """Whether a layer is a 1-D transposed convolution without dilation, groups or output padding."""
    return type(layer) is nn.ConvTranspose1d and (
        (layer.dilation, layer.groups, layer.output_padding) == ((1,), 1, (0,))
    )


def transposed(network: nn.Module) -> nn.Module:
    """A copy that works on transposed images if the network is `Narrow`; otherwise the network itself."""
    if not isinstance(network, Narrow):
        return network
    transposed_network = copied(network)
    replace_weights(
        transposed_network, lambda weight: weight.transpose(-1, -2) if weight.dim() == 4 else weight
    )
    return Transposed(transposed_network, network.narrow_inputs)


class Transposed(nn.Module):
    """Exchanges rows and columns of images before and after a network whose kernels are transposed.

    images: indices of the inputs that are images (b, c, k, n); the output is one too.
    """

    def __init__(self, network: nn.Module, images: tuple[int, ...]) -> None:
        super().__init__()
        self.network, self.images = network, images

    def forward(self, *inputs: Tensor) -> Tensor:
        """Inputs of the network to its output, (b, c, k, n)."""
        entries = [
            entry.transpose(-1, -2) if index in self.images else entry
            for index, entry in enumerate(inputs)
        ]
        output: Tensor = self.network(*entries)
        return output.transpose(-1, -2)


class BilinearUpsampleConv(nn.Module):
    """nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), then a 3 x 3 convolution, with
    a quarter of the multiplications by weights: (b, num_in, k, n) to (b, num_out, 2 k, 2 n).

    Interpolation is separable and acts on each channel alone, so channels may be mixed before it: the nine
    terms of the kernel are computed at the lower resolution, then interpolated, shifted and summed by two
    matrices, one for columns and one for rows.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.num_out = conv.out_channels
        terms = conv.weight.detach().permute(2, 3, 0, 1).flatten(0, 2)  # by row, column, output
        self.weight = nn.Parameter(terms[..., None, None], requires_grad=False)
        bias = conv.weight.new_zeros(self.num_out) if conv.bias is None else conv.bias
        self.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """(b, num_in, k, n) to (b, num_out, 2 k, 2 n)."""
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
    """Interpolate the three kernel terms of each position to twice as many positions and sum them.

    terms: (b, 3 num, d), for each position the terms for the previous, the same and the next output
    position. Returns (b, 2 num, d). The matrix is banded, so it is applied in blocks of BLOCK rows.
    """
    identity = torch.eye(num, dtype=torch.float64)[None]
    interpolation = F.interpolate(identity, size=2 * num, mode="linear", align_corners=True)[0]
    taps = F.pad(interpolation, (1, 1)).unfold(-1, 2 * num, 1)  # [input, term, output]
    matrix = taps.flatten(0, 1).T.to(terms)
    blocks = []
    for start in range(0, 2 * num, BLOCK):
        first = max(0, start - 1) * (num - 1) // (2 * num - 1)
        last = min(num - 1, (start + BLOCK) * (num - 1) // (2 * num - 1) + 1)
        band = slice(3 * first, 3 * last + 3)
        blocks.append(matrix[start : start + BLOCK, band] @ terms[:, band])
    return torch.cat(blocks, dim=1)


class NearestUpsampleConv(nn.Module):
    """Nearest-neighbour doubling, then a 3 x 3 convolution, with 4/9 of the multiplications by weights:
    (b, num_in, k, n) to (b, num_out, 2 k, 2 n).

    The kernel's three rows fall on only two rows of the input, and its columns likewise; so each of the four
    output positions of an input position has a 2 x 2 kernel, whose weights are sums of the original ones.
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
        """(b, num_in, k, n) to (b, num_out, 2 k, 2 n)."""
        num_items, _, num_rows, num_columns = hidden.shape
        parts = []
        for index, kernel in enumerate(self.kernels):
            row, column = divmod(index, 2)
            padded = F.pad(hidden, (1 - column, column, 1 - row, row))
            parts.append(F.conv2d(padded, kernel, self.bias).permute(0, 2, 3, 1))
        square = torch.stack(parts, dim=3).unflatten(3, (2, 2))  # (b, k, n, 2, 2, num_out)
        raised = square.transpose(2, 3).reshape(num_items, 2 * num_rows, 2 * num_columns, -1)
        return raised.permute(0, 3, 1, 2)


def folded(weight: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Kernels of size 3 along the axis to those of size 2 for the first and second of two equal inputs."""
    first, second, third = weight.split(1, dim=axis)
    return torch.cat([first, second + third], axis), torch.cat([first + second, third], axis)


class SubpixelConv(nn.Module):
    """An nn.ConvTranspose1d of stride r as a convolution with r outputs for each input position:
    (b, num_in, n) to (b, num_out, (n - 1) r - 2 padding + kernel)."""

    def __init__(self, conv: nn.ConvTranspose1d) -> None:
        super().__init__()
        (kernel,), (self.stride,), padding = conv.kernel_size, conv.stride, conv.padding
        assert isinstance(padding, tuple)  # a transposed convolution has no "same"
        self.trimmed, self.num_more = padding[0], kernel - self.stride - 2 * padding[0]
        self.num_terms = -(-kernel // self.stride)
        taps = F.pad(conv.weight.detach(), (0, self.num_terms * self.stride - kernel))
        taps = taps.unflatten(-1, (self.num_terms, self.stride))  # (num_in, num_out, term, r)
        weight = taps.flip(2).permute(3, 1, 0, 2).flatten(0, 1).contiguous()
        self.weight = nn.Parameter(weight, requires_grad=False)
        bias = taps.new_zeros(taps.shape[1]) if conv.bias is None else conv.bias.detach()
        self.bias = nn.Parameter(bias.repeat(self.stride), requires_grad=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """(b, num_in, n) to (b, num_out, (n - 1) r - 2 padding + kernel)."""
        num_out = self.stride * hidden.shape[-1] + self.num_more
        parts = F.conv1d(hidden, self.weight, self.bias, padding=self.num_terms - 1)
        interleaved = parts.unflatten(1, (self.stride, -1)).permute(0, 2, 3, 1).flatten(2)
        return interleaved[..., self.trimmed : self.trimmed + num_out]

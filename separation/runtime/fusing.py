"""A network rewritten for use: the same function of its inputs, in fewer operations.

Batch norms are folded into the convolutions before them, and convolutions to more places are done where
there are fewer (subpixel.py); graphs turn images with few columns, since runtimes work along rows. All
change results by rounding alone, and none can be trained.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeGuard

from torch import Tensor, channels_last, nn

from ..networks.residual import Upsample
from .subpixel import RaisingConv, RepeatingConv, SpreadingConv


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

"""The causal U-Net of causal_unet.py in a stream: it keeps what it needs of the past.

A step of a stream is a frame or none at each level, for which calls cost more than arithmetic. So a
convolution is a single matrix product here (im2col: Chellapilla, Puri and Simard, "High performance
convolutional neural networks for document processing", 2006, sec. 3), norms are folded into it, and hidden
features lie as (n, k, d), frames, bands and channels, so that the taps of an output are slices of memory. A
step of the network takes six to seven tenths of the time of torch's convolutions.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..composition import Inject, no_query
from .causal_unet import CausalConv, CausalConvNorm, CausalResidualBlock, CausalUNet, Merge


class LiveConv:
    """A `CausalConv` and the norm after it, for blocks of one stream."""

    def __init__(self, layer: CausalConv, norm: nn.BatchNorm2d | None = None) -> None:
        kernel, bias = layer.conv.weight, layer.conv.bias
        if norm is not None:
            kernel, bias = folded(layer.conv, norm)
        self.weight = kernel.detach().permute(3, 2, 1, 0).flatten(0, 2).contiguous()  # taps to o
        assert bias is not None  # of a norm or the head
        self.bias = bias.detach()
        self.band_taps, self.frame_taps = layer.conv.kernel_size
        self.band_stride, self.frame_stride = layer.stride
        self.dilation, self.num_past = layer.conv.dilation[1], layer.num_past
        self.frames: Tensor | None = None  # those before the next, with margins of bands

    def __call__(self, frames: Tensor) -> Tensor:
        """The next frames (n, k, i) to the output's next (n', k / stride, o); n and n' may be 0."""
        num_past = self.num_past if self.frames is None else 0
        margin = self.band_taps // 2
        frames = F.pad(frames, (0, 0, margin, margin, num_past, 0))
        if self.frames is not None:
            frames = torch.cat([self.frames, frames])
        num_frames = (len(frames) - self.num_past) // self.frame_stride
        self.frames = frames[num_frames * self.frame_stride :]
        num_bands = (frames.shape[1] - self.band_taps) // self.band_stride + 1
        rows = self.taps(frames, num_frames, num_bands)
        return torch.addmm(self.bias, rows, self.weight).view(num_frames, num_bands, len(self.bias))

    def taps(self, frames: Tensor, num_frames: int, num_bands: int) -> Tensor:
        """What each output is a product of: frames (n, k, i) to (n' k', taps of frames x of bands x i)."""
        frame, band, _ = frames.stride()
        windows = frames.as_strided(
            (num_frames, num_bands, self.frame_taps, self.band_taps * band),
            (self.frame_stride * frame, self.band_stride * band, self.dilation * frame, 1),
            (self.frame_stride - 1) * frame,
        )
        return windows.reshape(num_frames * num_bands, len(self.weight))


class LiveBlock:
    """A `CausalResidualBlock`."""

    def __init__(self, block: CausalResidualBlock) -> None:
        self.first, self.second = live_conv(block.first), live_conv(block.second)

    def __call__(self, hidden: Tensor) -> Tensor:
        """(n, k, d) to the same, non-negative."""
        return self.second(self.first(hidden).relu_()).add_(hidden).relu_()


class LiveMerge:
    """A level's `Merge` with what comes from the level below, each frame of which lasts `step` frames."""

    def __init__(self, reduce: nn.Conv2d, merge: Merge, step: int) -> None:
        self.reduce = reduce.weight.detach()[:, :, 0, 0].T
        self.conv, self.block = live_conv(merge.conv), LiveBlock(merge.block)
        self.step, self.num_seen = step, 0
        self.latest: Tensor | None = None

    def __call__(self, below: Tensor, hidden: Tensor) -> Tensor:
        """The next frames below (n', k / 2, e) and those of the level (n, k, d), to (n, k, d)."""
        reduced = (below @ self.reduce).repeat_interleave(2, dim=1)
        raised = self.held(reduced, len(hidden))
        return self.block(self.conv(torch.cat([raised, hidden], dim=-1)).relu_())

    def held(self, coarse: Tensor, num_fine: int) -> Tensor:
        """The latest coarse frame at each of the next num_fine frames, zeros before the first: (n', ...) to
        (num_fine, ...). Coarse frame m is complete at the fine frame (m + 1) step - 1."""
        latest = coarse.new_zeros(1, *coarse.shape[1:]) if self.latest is None else self.latest
        known = torch.cat([latest, coarse])
        first = self.num_seen % self.step + 1  # of the frames that the latest one is held for
        self.num_seen += num_fine
        self.latest = known[-1:]
        return known.repeat_interleave(self.step, dim=0)[first : first + num_fine]


class LiveUNet:
    """A `CausalUNet` for one stream and, with `inject`, one query. Weights are copied, with norms as they are
    in evaluation."""

    def __init__(self, network: CausalUNet, inject: Inject = no_query) -> None:
        self.inject = inject
        self.stem, self.head = live_conv(network.stem), LiveConv(network.head)
        lists: Any = network  # ModuleList does not say what it holds
        self.encoders = [[LiveBlock(block) for block in level] for level in lists.encoders]
        self.downs = [live_conv(down) for down in lists.downs]
        ratios = [longer // step for step, longer in pairwise(network.steps)]
        merges = zip(lists.reduces, lists.decoders, ratios, strict=True)
        self.merges = [LiveMerge(*merge) for merge in merges]

    def __call__(self, planes: Tensor) -> Tensor:
        """The next frames, any number of them: (1, 3, k, n) to (1, num_outputs, k / 2, n)."""
        hidden = self.stem(planes[0].permute(2, 1, 0)).relu_()
        return self.head(self.level(0, hidden)).permute(2, 1, 0)[None]

    def level(self, level: int, hidden: Tensor) -> Tensor:
        """A level and those below it: (n, k, d) to the same."""
        if not len(hidden):
            return hidden
        for block in self.encoders[level]:
            hidden = block(hidden)
        passed = self.inject(level, hidden.permute(2, 1, 0)[None])[0].permute(2, 1, 0)
        if level == len(self.merges):
            return passed
        below = self.level(level + 1, self.downs[level](hidden).relu_())
        return self.merges[level](below, passed)


def live_conv(layer: CausalConvNorm) -> LiveConv:
    """A convolution with its norm."""
    return LiveConv(layer.conv, layer.norm)


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Kernel and bias of a convolution that does what both do in evaluation."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    return nn.utils.fuse_conv_bn_weights(
        conv.weight, conv.bias, mean, variance, norm.eps, norm.weight, norm.bias
    )

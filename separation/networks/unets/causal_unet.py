"""The U-Net of residual_unet.py made causal: no frame of its output depends on a later one.

Every kernel ends at the present frame. A level that works at every s-th frame has seen the last s frames
when it computes one, and gives it to the s frames from then on: its knowledge is up to s - 1 frames old. The
upper levels therefore work at shorter steps than those of the offline network, with kernels dilated to
the same reach (Holschneider et al., "A real-time algorithm for signal analysis with the help of the wavelet
transform", 1989), so that its weights are a start for these (`from_offline`). This is for whole
recordings; live_unet.py does the same block by block.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..composition import Inject, no_query
from .residual_unet import UNet, level_steps


class CausalConv(nn.Module):
    """Convolution over bands, centred, and frames, the last tap at the present one.

    stride: of bands and of frames. Of frames, every stride-th from the stride-th on has an output.
    """

    def __init__(
        self,
        num_in: int,
        num_out: int,
        kernel: int = 3,
        stride: tuple[int, int] = (1, 1),
        dilation: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.stride, self.num_past = stride, (kernel - 1) * dilation
        self.conv = nn.Conv2d(
            num_in,
            num_out,
            kernel,
            stride,
            padding=(kernel // 2, 0),
            dilation=(1, dilation),
            bias=bias,
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """(b, i, k, n) to (b, o, k / stride, n / stride)."""
        first = self.stride[1] - 1
        output: Tensor = self.conv(F.pad(hidden, (self.num_past - first, 0)))
        return output


class CausalConvNorm(nn.Module):
    """A causal convolution and batch norm."""

    def __init__(self, conv: CausalConv) -> None:
        super().__init__()
        self.conv = conv
        self.norm = nn.BatchNorm2d(conv.conv.out_channels)

    def forward(self, hidden: Tensor) -> Tensor:
        """As `CausalConv`."""
        output: Tensor = self.norm(self.conv(hidden))
        return output


class CausalResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with batch norm, and a residual."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.first = CausalConvNorm(CausalConv(channels, channels, dilation=dilation))
        self.second = CausalConvNorm(CausalConv(channels, channels, dilation=dilation))

    def forward(self, hidden: Tensor) -> Tensor:
        """(b, d, k, n) to the same, non-negative."""
        return F.relu(hidden + self.second(F.relu(self.first(hidden))))


class Merge(nn.Module):
    """Features from below and of the level itself to the level's width, and a residual block."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.conv = CausalConvNorm(CausalConv(2 * width, width, dilation=dilation))
        self.block = CausalResidualBlock(width, dilation)

    def forward(self, hidden: Tensor) -> Tensor:
        """(b, 2 w, k, n) to (b, w, k, n)."""
        merged: Tensor = self.block(F.relu(self.conv(hidden)))
        return merged


class CausalUNet(nn.Module):
    """Inputs (b, 3, k, n), k a multiple of 32; outputs (b, num_outputs, k / 2, n).

    channels, blocks: width and number of residual blocks of each level. steps: frames from one frame of a
    level to its next, the first 1; each a multiple of the one before, and a divisor of the offline network's.
    A query can condition what each level passes to the decoder, as wide as the level: these are the sites.
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        blocks: tuple[int, ...],
        steps: tuple[int, ...],
        num_outputs: int,
    ) -> None:
        super().__init__()
        offline = level_steps(len(channels))
        self.steps = steps
        self.stem = CausalConvNorm(CausalConv(3, channels[0], kernel=5, stride=(2, 1)))
        self.encoders, self.downs = nn.ModuleList(), nn.ModuleList()
        self.reduces, self.decoders = nn.ModuleList(), nn.ModuleList()
        for level, (width, depth) in enumerate(zip(channels, blocks, strict=True)):
            dilation = offline[level] // steps[level]
            encoder = [CausalResidualBlock(width, dilation) for _ in range(depth)]
            self.encoders.append(nn.Sequential(*encoder))
            if level + 1 < len(channels):
                wide = channels[level + 1]
                stride = 2, steps[level + 1] // steps[level]
                self.downs.append(CausalConvNorm(CausalConv(width, wide, 3, stride, dilation)))
                self.reduces.append(nn.Conv2d(wide, width, 1, bias=False))
                self.decoders.append(Merge(width, dilation))
        self.head = CausalConv(channels[0], num_outputs, dilation=offline[0] // steps[0], bias=True)

    def forward(self, planes: Tensor, inject: Inject = no_query) -> Tensor:
        """A whole recording: (b, 3, k, n) to (b s, num_outputs, k / 2, n).

        inject: may repeat each item of the batch for s queries; the encoder runs once for all of them.
        """
        num_frames = planes.shape[-1]
        # The network is causal: frames that follow change nothing.
        whole = F.pad(planes, (0, -num_frames % self.steps[-1]))
        output: Tensor = self.head(self.level(0, F.relu(self.stem(whole)), inject))
        return output[..., :num_frames]

    def level(self, level: int, hidden: Tensor, inject: Inject) -> Tensor:
        """A level and those below it: (b, w, k, n) to (b s, w, k, n)."""
        hidden = self.encoders[level](hidden)
        passed = inject(level, hidden)
        if level + 1 == len(self.encoders):
            return passed
        below = self.level(level + 1, F.relu(self.downs[level](hidden)), inject)
        step = self.steps[level + 1] // self.steps[level]
        raised = F.interpolate(held(self.reduces[level](below), step), scale_factor=(2.0, 1.0))
        merged: Tensor = self.decoders[level](torch.cat([raised, passed], dim=1))
        return merged


def held(coarse: Tensor, step: int) -> Tensor:
    """The latest coarse frame at each fine frame, zeros before the first: (..., n) to (..., n step). Coarse
    frame m is complete at the fine frame (m + 1) step - 1."""
    return F.pad(coarse.repeat_interleave(step, dim=-1), (step - 1, 1 - step))


def from_offline(offline: UNet, causal: CausalUNet, outputs: Tensor) -> None:
    """Weights of the offline network as a start for the causal one of the same widths.

    A tap at a later frame is added to the present one's, as if the present lasted. outputs: which of the
    offline head's outputs to keep, of the later of its two frames.
    """
    for old, new in zip(layers(offline), layers(causal), strict=True):
        weights = old.state_dict()
        if old is offline.head:
            weights = {name: value[outputs] for name, value in weights.items()}
        if isinstance(old, nn.Conv2d) and old.kernel_size[1] > 1:
            later = old.kernel_size[1] // 2 - (
                old.stride[1] - 1
            )  # frames after those it stands for
            weights["weight"] = ending_now(weights["weight"], later)
        new.load_state_dict(weights)


def layers(network: nn.Module) -> list[nn.Module]:
    """The convolutions and norms of a network, in the order of their definition."""
    return [
        module for module in network.modules() if isinstance(module, nn.Conv2d | nn.BatchNorm2d)
    ]


def ending_now(kernel: Tensor, later: int) -> Tensor:
    """A kernel (o, i, k, n) whose last `later` taps are added to the one before and replaced by zeros at
    the beginning."""
    if not later:
        return kernel
    num = kernel.shape[-1]
    present = kernel[..., num - later - 1 :].sum(dim=-1, keepdim=True)
    return torch.cat(
        [torch.zeros_like(kernel[..., :later]), kernel[..., : num - later - 1], present], dim=-1
    )

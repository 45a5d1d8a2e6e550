"""The U-Net of residual_unet.py made causal: no frame of its output depends on a later one.

Every kernel ends at the present frame. A level that works at every s-th frame has seen the last s frames
when it computes one, and gives it to the s frames from then on: its knowledge is up to s - 1 frames old. The
upper levels therefore work at shorter steps than those of the offline network, with kernels dilated to
the same reach (Holschneider et al., "A real-time algorithm for signal analysis with the help of the wavelet
transform", 1989), so that its weights are a start for these (`from_offline`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..blocks.memory_format import to_channels_last
from ..blocks.past import Past
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

    def forward(self, hidden: Tensor, past: Past) -> Tensor:
        """(b, i, k, n) to (b, o, k / stride, n')."""
        band_stride, frame_stride = self.stride
        first = (frame_stride - 1 - past.seen(self)) % frame_stride
        whole = past.extended(self, hidden, self.num_past)
        if hidden.shape[-1] <= first:
            num, _, bands, _ = hidden.shape
            return hidden.new_zeros(num, self.conv.out_channels, -(-bands // band_stride), 0)
        frames = whole[..., first:]
        conv = self.conv
        if frames.shape[-1] - self.num_past <= frame_stride:
            # One output: fast only without dilation.
            taps = frames[..., : self.num_past + 1 : conv.dilation[1]]
            taps = taps.contiguous(memory_format=torch.channels_last)  # two to four times as fast
            padding = conv.kernel_size[0] // 2, 0
            return F.conv2d(taps, conv.weight, conv.bias, (band_stride, 1), padding)
        output: Tensor = conv(frames)
        return output


class CausalConvNorm(nn.Module):
    """A causal convolution and batch norm."""

    def __init__(self, conv: CausalConv) -> None:
        super().__init__()
        self.conv = conv
        self.norm: nn.Module = nn.BatchNorm2d(conv.conv.out_channels)

    def forward(self, hidden: Tensor, past: Past) -> Tensor:
        """As `CausalConv`."""
        output = self.conv(hidden, past)
        return self.norm(output) if output.shape[-1] else output


class CausalResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with batch norm, and a residual."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.first = CausalConvNorm(CausalConv(channels, channels, dilation=dilation))
        self.second = CausalConvNorm(CausalConv(channels, channels, dilation=dilation))

    def forward(self, hidden: Tensor, past: Past) -> Tensor:
        """(b, d, k, n) to the same, non-negative."""
        return F.relu(hidden + self.second(F.relu(self.first(hidden, past)), past))


class Merge(nn.Module):
    """Features from below and of the level itself to the level's width, and a residual block."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.conv = CausalConvNorm(CausalConv(2 * width, width, dilation=dilation))
        self.block = CausalResidualBlock(width, dilation)

    def forward(self, hidden: Tensor, past: Past) -> Tensor:
        """(b, 2 w, k, n) to (b, w, k, n)."""
        merged: Tensor = self.block(F.relu(self.conv(hidden, past)), past)
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
            self.encoders.append(nn.ModuleList(encoder))
            if level + 1 < len(channels):
                wide = channels[level + 1]
                stride = 2, steps[level + 1] // steps[level]
                self.downs.append(CausalConvNorm(CausalConv(width, wide, 3, stride, dilation)))
                self.reduces.append(nn.Conv2d(wide, width, 1, bias=False))
                self.decoders.append(Merge(width, dilation))
        self.head = CausalConv(channels[0], num_outputs, dilation=offline[0] // steps[0], bias=True)

    def forward(self, planes: Tensor, past: Past, inject: Inject = no_query) -> Tensor:
        """The next frames, any number of them: (b, 3, k, n) to (b s, num_outputs, k / 2, n).

        inject: may repeat each item of the batch for s queries; the encoder runs once for all of them.
        """
        hidden = self.level(0, F.relu(self.stem(planes, past)), past, inject)
        output: Tensor = self.head(hidden, past)
        return output

    def level(self, level: int, hidden: Tensor, past: Past, inject: Inject) -> Tensor:
        """A level and those below it: (b, w, k, n) to (b s, w, k, n)."""
        if not hidden.shape[-1]:
            return inject(level, hidden)
        for block in self.encoders[level].children():
            hidden = block(hidden, past)
        passed = inject(level, hidden)
        if level + 1 == len(self.encoders):
            return passed
        below = self.level(level + 1, F.relu(self.downs[level](hidden, past)), past, inject)
        num, _, bands, frames = below.shape
        reduced = (
            self.reduces[level](below)
            if frames
            else passed.new_zeros(num, passed.shape[1], bands, 0)
        )
        step = self.steps[level + 1] // self.steps[level]
        raised = held(reduced, hidden.shape[-1], step, (self, level), past)
        raised = F.interpolate(raised, scale_factor=(2.0, 1.0))
        merged: Tensor = self.decoders[level](torch.cat([raised, passed], dim=1), past)
        return merged


def fold_norms(network: CausalUNet) -> None:
    """Fold the norms into the convolutions, in place, for evaluation: faster for blocks of a few frames."""
    for module in network.eval().modules():
        if isinstance(module, CausalConvNorm):
            assert isinstance(module.norm, nn.BatchNorm2d)
            module.conv.conv = nn.utils.fuse_conv_bn_eval(module.conv.conv, module.norm)
            module.norm = nn.Identity()
    to_channels_last(network)


def held(coarse: Tensor, num_fine: int, step: int, key: object, past: Past) -> Tensor:
    """The latest coarse frame at each of the next num_fine frames, zeros before the first: (..., n') to
    (..., num_fine). Coarse frame m is complete at the fine frame (m + 1) step - 1."""
    seen = past.count((key, "fine"), num_fine)
    known = past.extended(key, coarse, 1)
    fine = torch.arange(seen + 1, seen + num_fine + 1, device=coarse.device)
    return known[..., fine // step - seen // step]


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

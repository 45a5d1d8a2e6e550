"""FlowSep's vocoder: BigVGAN (Lee et al. 2023), from log-mel frames to a waveform.

    log-mel (b, k, n) -> conv -> [upsample -> mean of three residual blocks] x 5 -> conv -> tanh (b, 1, t)

Its activation, SnakeBeta, is evaluated at twice the sample rate, so that the harmonics it generates do
not alias.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.settings import configuration

NUM_TAPS = 12  # of the filter around the activation
HALF_WIDTH = 0.3  # of its transition band, relative to the doubled rate
# pi as a number of few bits and the rest: multiples of the first are exact in float32.
PI_PARTS = 3.140625, math.pi - 3.140625
SINE_DEGREE = 5
PIECE_FRAMES = 512  # vocoded at once; takes a quarter of a gigabyte of activations


@configuration
class VocoderConfig:
    """channels: after the first convolution, halved by each upsampling. rates: of the upsamplings,
    whose product is the hop in samples; kernels: of their convolutions. block_kernels, dilations: of
    the residual blocks."""

    channels: int = 512
    rates: tuple[int, ...] = (5, 4, 2, 2, 2)
    kernels: tuple[int, ...] = (16, 16, 8, 4, 4)
    block_kernels: tuple[int, ...] = (3, 7, 11)
    dilations: tuple[int, ...] = (1, 3, 5)


class BigVGAN(nn.Module):
    """num_bands: of the log-mel spectrogram. context_frames: an output sample depends on no frame
    farther away."""

    varying_axes: tuple[int, ...] = ()  # see networks/exportable.py; pieces are of one length

    def __init__(self, config: VocoderConfig, num_bands: int) -> None:
        super().__init__()
        self.hop_samples = math.prod(config.rates)
        self.context_frames = context_frames(config)
        self.conv_in = same_conv(num_bands, config.channels, 7)
        self.ups, self.stages = nn.ModuleList(), nn.ModuleList()
        width = config.channels
        for rate, kernel in zip(config.rates, config.kernels, strict=True):
            self.ups.append(
                nn.ConvTranspose1d(width, width // 2, kernel, rate, (kernel - rate) // 2)
            )
            width //= 2
            self.stages.append(Stage(width, config.block_kernels, config.dilations))
        self.activation = SnakeBeta(width)
        self.conv_out = same_conv(width, 1, 7)

    def forward(self, log_mel: Tensor) -> Tensor:
        """log_mel (b, k, n) to (b, 1, t) in [-1, 1]. t >= n * hop_samples; it is a few samples more if
        the kernel and the rate of an upsampling differ in parity (published: 160 n + 32)."""
        hidden = self.conv_in(log_mel)
        for up, stage in zip(self.ups, self.stages, strict=True):
            hidden = stage(up(hidden))
        return torch.tanh(self.conv_out(self.activation(hidden)))

    def pieces(self, log_mel: Tensor, num_frames: int = PIECE_FRAMES) -> Iterator[Tensor]:
        """The waveform of n frames (b, k, n) in pieces (b, 1, t'), so that memory is bounded.

        If there are enough frames, each piece comes from num_frames + context_frames frames, so that a
        network compiled for that size serves all of them. The pieces' lengths sum to n * hop_samples.
        Samples are those of `forward`, except for the effect of the recording's end on the last
        context_frames.
        """
        total, context = log_mel.shape[-1], self.context_frames
        num_used = max(num_frames + context, 3 * context)
        done = 0
        while done < total:
            first = max(0, min(done - context, total - num_used))
            frames = log_mel[..., first : first + num_used]
            end = total if first + num_used >= total else first + num_used - context
            new_samples = slice((done - first) * self.hop_samples, (end - first) * self.hop_samples)
            yield self(frames)[..., new_samples]
            done = end


def same_conv(in_channels: int, channels: int, kernel: int, dilation: int = 1) -> nn.Conv1d:
    """A convolution over (b, in_channels, t) that keeps the length; kernel odd."""
    padding = dilation * (kernel - 1) // 2
    return nn.Conv1d(in_channels, channels, kernel, dilation=dilation, padding=padding)


class Stage(nn.Module):
    """The mean of residual blocks with different kernels."""

    def __init__(self, channels: int, kernels: tuple[int, ...], dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(channels, size, dilations) for size in kernels)

    def forward(self, hidden: Tensor) -> Tensor:
        """(b, c, t) to (b, c, t)."""
        return torch.stack([block(hidden) for block in self.blocks]).mean(dim=0)


class ResidualBlock(nn.Module):
    """For each dilation: activation, dilated convolution, activation, convolution, with a residual."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(
            nn.Sequential(
                SnakeBeta(channels),
                same_conv(channels, channels, kernel, dilation),
                SnakeBeta(channels),
                same_conv(channels, channels, kernel),
            )
            for dilation in dilations
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """(b, c, t) to (b, c, t)."""
        for step in self.steps:
            hidden = hidden + step(hidden)
        return hidden


class SnakeBeta(nn.Module):
    """x + sin^2(alpha x) / beta with an alpha and a beta for each channel, evaluated at twice the
    sample rate.

    Lee et al. (2023), sec. 3; alpha and beta are stored as logarithms.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_alpha = nn.Parameter(torch.zeros(channels))
        self.log_beta = nn.Parameter(torch.zeros(channels))

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden (b, c, t) to (b, c, t).

        The upsampled signal, whose first and last sample continue beyond the ends, is kept as two
        polyphase components, even and odd samples, so that both filters are short and run at the rate
        of the input.
        """
        alpha, beta = self.log_alpha.exp()[:, None], self.log_beta.exp()[:, None] + 1e-9
        # Polyphase components of the filter, as kernels of correlations; for upsampling in reverse.
        down_taps = half_band().to(hidden).reshape(-1, 2).T
        up_taps = 2 * down_taps.flip(0, 1)
        padded = F.pad(hidden, (3, 3), mode="replicate")
        even = filtered(padded[..., :-1], up_taps[0])
        odd = filtered(padded[..., 1:], up_taps[1])
        even, odd = (part + squared_sine(alpha * part) / beta for part in (even, odd))
        first, last = even[..., :1], odd[..., -1:]
        even = torch.cat([first, first, even, last, last, last], dim=-1)
        odd = torch.cat([first, first, first, odd, last, last], dim=-1)
        return filtered(even, down_taps[1]) + filtered(odd, down_taps[0])


def filtered(hidden: Tensor, taps: Tensor) -> Tensor:
    """Each channel correlated with taps (k,): (b, c, t) to (b, c, t - k + 1)."""
    channels = hidden.shape[1]
    return F.conv1d(hidden, taps.expand(channels, 1, -1), groups=channels)


def squared_sine(angle: Tensor) -> Tensor:
    """sin^2 of angles of any shape.

    In graphs exported to other runtimes (runtime/onnx_graphs.py), whose sine is slow, a polynomial,
    accurate to 3e-7.
    """
    if not torch.compiler.is_exporting():
        return angle.sin().square()
    turns = (angle / math.pi).round()
    near = angle - turns * PI_PARTS[0] - turns * PI_PARTS[1]  # within pi / 2 of zero
    squared = near.square()
    ratio = torch.zeros_like(squared)  # of sine and angle
    for coefficient in reversed(sine_ratio()):
        ratio = ratio * squared + coefficient
    return squared * ratio.square()


@cache
def sine_ratio() -> tuple[float, ...]:
    """Coefficients c_0, c_1, … of sin(x) / x = c_0 + c_1 x^2 + …, accurate to 1e-9 for |x| <= pi / 2."""
    fit = np.polynomial.Chebyshev.interpolate(
        lambda squared: np.sinc(np.sqrt(squared) / np.pi), SINE_DEGREE, domain=[0, math.pi**2 / 4]
    )
    return tuple(fit.convert(kind=np.polynomial.Polynomial, domain=[-1, 1]).coef.tolist())


def half_band() -> Tensor:
    """Taps (12,) of a half-band low-pass filter: a sinc under a Kaiser window, with sum 1."""
    return torch.tensor(half_band_taps())


@cache
def half_band_taps() -> tuple[float, ...]:
    """The taps of `half_band` as numbers."""
    # Kaiser (1974): stop-band attenuation for this length and transition width, and the window's beta.
    attenuation_db = 2.285 * (NUM_TAPS // 2 - 1) * math.pi * 4 * HALF_WIDTH + 7.95
    window = np.kaiser(NUM_TAPS, 0.1102 * (attenuation_db - 8.7))
    taps = window * np.sinc(0.5 * (np.arange(NUM_TAPS) - (NUM_TAPS - 1) / 2))
    return tuple((taps / taps.sum()).tolist())


def context_frames(config: VocoderConfig) -> int:
    """Receptive field on one side, in frames: the sum over all kernels, each at the rate where it
    works."""
    reach, rate = 3.0, 1
    filters = NUM_TAPS / 2  # of one activation, up and down
    for factor, kernel in zip(config.rates, config.kernels, strict=True):
        reach += kernel / factor / rate
        rate *= factor
        dilated = (
            (max(config.block_kernels) - 1) / 2 * sum(dilation + 1 for dilation in config.dilations)
        )
        reach += (dilated + 2 * len(config.dilations) * filters) / rate
    return math.ceil(reach + (3 + filters) / rate) + 1

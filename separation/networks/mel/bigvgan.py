"""The vocoder of FlowSep: BigVGAN (Lee et al. 2023), from log-mel frames to a waveform.

    log-mel (b, k, n) -> conv -> [upsample -> mean of three residual blocks] x 5 -> conv -> tanh (b, 1, t)

Its activation, SnakeBeta, bends at twice the rate, so that the overtones it makes do not fold back.
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
HALF_WIDTH = 0.3  # of its transition, in parts of the doubled rate
PI_PARTS = 3.140625, math.pi - 3.140625  # few bits and the rest: turns of the first are exact
SINE_DEGREE = 5
PIECE_FRAMES = 512  # vocoded at once: half a window, a quarter of a gigabyte of activations


@configuration
class VocoderConfig:
    """channels: after the first convolution, halved by each upsampling. rates: of the upsamplings, whose
    product is the hop, with their kernels. block_kernels and dilations: of the residual blocks."""

    channels: int = 512
    rates: tuple[int, ...] = (5, 4, 2, 2, 2)
    kernels: tuple[int, ...] = (16, 16, 8, 4, 4)
    block_kernels: tuple[int, ...] = (3, 7, 11)
    dilations: tuple[int, ...] = (1, 3, 5)


class BigVGAN(nn.Module):
    """num_bands: of the log-mel. context_frames: an output sample sees no frame farther away."""

    varying_axes: tuple[int, ...] = ()  # see runtime.py; pieces are of one length

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
        """log_mel: (b, k, n), to (b, 1, t) in [-1, 1]; t >= n * hop_samples, a few samples more where an
        upsampling has a kernel and a rate of unlike parity (published: 160 n + 32)."""
        hidden = self.conv_in(log_mel)
        for up, stage in zip(self.ups, self.stages, strict=True):
            hidden = stage(up(hidden))
        return torch.tanh(self.conv_out(self.activation(hidden)))

    def pieces(self, log_mel: Tensor, num_frames: int = PIECE_FRAMES) -> Iterator[Tensor]:
        """The waveform of n frames (b, k, n), in pieces (b, 1, t'): memory is bounded.

        Where there are enough frames, each piece is made of num_frames and `context_frames` more, so that
        networks for that one size serve all. The lengths sum to n * hop_samples; the samples are those
        of `forward`, but for what the ends of the recording do to the last `context_frames`.
        """
        total, context = log_mel.shape[-1], self.context_frames
        num_seen = max(num_frames + context, 3 * context)
        done = 0
        while done < total:
            first = max(0, min(done - context, total - num_seen))
            seen = log_mel[..., first : first + num_seen]
            end = total if first + num_seen >= total else first + num_seen - context
            place = slice((done - first) * self.hop_samples, (end - first) * self.hop_samples)
            yield self(seen)[..., place]
            done = end


def same_conv(in_channels: int, channels: int, kernel: int, dilation: int = 1) -> nn.Conv1d:
    """Keeps the length."""
    padding = dilation * (kernel - 1) // 2
    return nn.Conv1d(in_channels, channels, kernel, dilation=dilation, padding=padding)


class Stage(nn.Module):
    """The mean of residual blocks that reach differently far."""

    def __init__(self, channels: int, kernels: tuple[int, ...], dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(channels, size, dilations) for size in kernels)

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.stack([block(hidden) for block in self.blocks]).mean(dim=0)


class ResidualBlock(nn.Module):
    """For each dilation: activation, dilated convolution, activation, convolution, plus what came in."""

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
        for step in self.steps:
            hidden = hidden + step(hidden)
        return hidden


class SnakeBeta(nn.Module):
    """x + sin^2(alpha x) / beta, a frequency and a magnitude a channel, evaluated at twice the rate.

    Lee et al. (2023), sec. 3; alpha and beta are stored as logarithms.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_alpha = nn.Parameter(torch.zeros(channels))
        self.log_beta = nn.Parameter(torch.zeros(channels))

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden: (b, c, t), to the same shape.

        Its doubling, first and last sample held beyond the ends, is kept as its samples of even and of
        odd places, so that both filters are short ones at the rate of what comes in.
        """
        alpha, beta = self.log_alpha.exp()[:, None], self.log_beta.exp()[:, None] + 1e-9
        # Kernels of correlations: the filter's even and odd taps; those that raise run backwards.
        lowering = half_band().to(hidden).reshape(-1, 2).T
        raising = 2 * lowering.flip(0, 1)
        padded = F.pad(hidden, (3, 3), mode="replicate")
        even = filtered(padded[..., :-1], raising[0])
        odd = filtered(padded[..., 1:], raising[1])
        even, odd = (part + squared_sine(alpha * part) / beta for part in (even, odd))
        first, last = even[..., :1], odd[..., -1:]
        even = torch.cat([first, first, even, last, last, last], dim=-1)
        odd = torch.cat([first, first, first, odd, last, last], dim=-1)
        return filtered(even, lowering[1]) + filtered(odd, lowering[0])


def filtered(hidden: Tensor, taps: Tensor) -> Tensor:
    """Each channel correlated with (k,) taps: (b, c, t) to (b, c, t - k + 1)."""
    channels = hidden.shape[1]
    return F.conv1d(hidden, taps.expand(channels, 1, -1), groups=channels)


def squared_sine(angle: Tensor) -> Tensor:
    """In graphs of other runtimes (graphs.py), whose own sine is slow, by products and sums: 3e-7 off."""
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
    """c_0, c_1, … with sin(x) / x = c_0 + c_1 x^2 + …, for |x| <= pi / 2, 1e-9 off."""
    fit = np.polynomial.Chebyshev.interpolate(
        lambda squared: np.sinc(np.sqrt(squared) / np.pi), SINE_DEGREE, domain=[0, math.pi**2 / 4]
    )
    return tuple(fit.convert(kind=np.polynomial.Polynomial, domain=[-1, 1]).coef.tolist())


def half_band() -> Tensor:
    """(12,): a sinc under a Kaiser window that passes the lower half of the band, of sum 1."""
    return torch.tensor(half_band_taps())


@cache
def half_band_taps() -> tuple[float, ...]:
    # Kaiser (1974): attenuation of this many taps at this width, and the window's shape for it.
    attenuation_db = 2.285 * (NUM_TAPS // 2 - 1) * math.pi * 4 * HALF_WIDTH + 7.95
    window = np.kaiser(NUM_TAPS, 0.1102 * (attenuation_db - 8.7))
    taps = window * np.sinc(0.5 * (np.arange(NUM_TAPS) - (NUM_TAPS - 1) / 2))
    return tuple((taps / taps.sum()).tolist())


def context_frames(config: VocoderConfig) -> int:
    """How far the output sees, in frames: the reach of every kernel, at the rate where it works."""
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

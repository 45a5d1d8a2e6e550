"""Discriminators of BigVGAN (Lee et al. 2023, sec. 2): of waveforms folded at several periods (Kong et al.,
"HiFi-GAN", 2020), and of magnitudes at several resolutions (Jang et al., "UnivNet", 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.settings import configuration

from ..weight_norm import weight_normed

SLOPE = 0.1  # of the activation below zero
PERIOD_WIDTHS = (1, 4, 16, 32, 32)  # times the channels
NUM_SPECTRAL_LAYERS = 5


@configuration
class WaveDiscriminatorConfig:
    """periods in samples; fft_sizes, hops and windows, in samples, of one resolution each. channels: of the
    narrowest layers."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    fft_sizes: tuple[int, ...] = (1024, 2048, 512)
    hops: tuple[int, ...] = (120, 240, 50)
    windows: tuple[int, ...] = (600, 1200, 240)
    channels: int = 32

    def __post_init__(self) -> None:
        if not len(self.fft_sizes) == len(self.hops) == len(self.windows):
            raise ValueError("discriminator: expected as many fft_sizes as hops and windows")


@dataclass(frozen=True)
class Judgement:
    """scores: (b, m) of each discriminator; features: (b, …) of each layer of each, scores included."""

    scores: tuple[Tensor, ...]
    features: tuple[Tensor, ...]


class WaveDiscriminators(nn.Module):
    def __init__(self, config: WaveDiscriminatorConfig) -> None:
        super().__init__()
        resolutions = zip(config.fft_sizes, config.hops, config.windows, strict=True)
        by_period = [PeriodDiscriminator(period, config.channels) for period in config.periods]
        by_resolution = [SpectralDiscriminator(*sizes, config.channels) for sizes in resolutions]
        self.discriminators = nn.ModuleList([*by_period, *by_resolution])

    def forward(self, waveform: Tensor) -> Judgement:
        """waveform: (b, 1, t), t more than half of the longest FFT."""
        layers = [discriminator(waveform) for discriminator in self.discriminators]
        features = tuple(feature for own in layers for feature in own)
        return Judgement(tuple(own[-1].flatten(1) for own in layers), features)


class PeriodDiscriminator(nn.Module):
    """Sees every period-th sample, from each of the period's places."""

    def __init__(self, period: int, channels: int) -> None:
        super().__init__()
        self.period = period
        widths = [1, *(channels * width for width in PERIOD_WIDTHS)]
        strides = [3] * (len(PERIOD_WIDTHS) - 1) + [1]
        convs = [
            nn.Conv2d(before, own, (5, 1), (stride, 1), (2, 0))
            for (before, own), stride in zip(pairwise(widths), strides, strict=True)
        ]
        self.layers = layers_of(convs, nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, waveform: Tensor) -> list[Tensor]:
        padded = F.pad(waveform, (0, -waveform.shape[-1] % self.period), mode="reflect")
        return features_of(self.layers, padded.unflatten(-1, (-1, self.period)))


class SpectralDiscriminator(nn.Module):
    """Sees magnitudes at one resolution."""

    def __init__(self, fft_size: int, hop: int, window: int, channels: int) -> None:
        super().__init__()
        self.fft_size, self.hop, self.window = fft_size, hop, window
        convs = [nn.Conv2d(1, channels, (3, 9), padding=(1, 4))]
        for _ in range(NUM_SPECTRAL_LAYERS - 2):
            convs.append(nn.Conv2d(channels, channels, (3, 9), (1, 2), (1, 4)))
        convs.append(nn.Conv2d(channels, channels, 3, padding=1))
        self.layers = layers_of(convs, nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, waveform: Tensor) -> list[Tensor]:
        return features_of(self.layers, self.magnitudes(waveform)[:, None])

    def magnitudes(self, waveform: Tensor) -> Tensor:
        """(b, 1, t) to (b, f, n), about t / hop frames; the window is rectangular, as published."""
        padding = (self.fft_size - self.hop) // 2
        padded = F.pad(waveform, (padding, padding), mode="reflect")[:, 0]
        spec = torch.stft(
            padded.float(),
            self.fft_size,
            self.hop,
            self.window,
            window=torch.ones(self.window, device=waveform.device),
            center=False,
            return_complex=True,
        )
        return spec.abs()


def layers_of(convs: list[nn.Conv2d], last: nn.Conv2d) -> nn.ModuleList:
    return nn.ModuleList(weight_normed(conv) for conv in [*convs, last])


def features_of(layers: nn.ModuleList, hidden: Tensor) -> list[Tensor]:
    """What each layer gives, after its activation; the last has none."""
    features = []
    for layer in layers[:-1]:
        hidden = F.leaky_relu(layer(hidden), SLOPE)
        features.append(hidden)
    return [*features, layers[-1](hidden)]

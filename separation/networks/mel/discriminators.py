"""Discriminators for adversarial training: of patches of log-mel spectrograms, and of waveforms.

Patches: PatchGAN, Isola et al., "Image-to-image translation with conditional adversarial networks"
(2017), as in Esser et al. (2021). Waveforms: those of BigVGAN (Lee et al. 2023, sec. 2), which see
waveforms folded at several periods (Kong et al., "HiFi-GAN", 2020) and magnitudes at several
resolutions (Jang et al., "UnivNet", 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.settings import configuration

from ..blocks.weight_norm import weight_normed

KERNEL = 4
PATCH_SLOPE = 0.2  # of the leaky ReLUs
MAX_WIDENING = 8
DEVIATION = 0.02  # of the initial weights
WAVE_SLOPE = 0.1
PERIOD_WIDTHS = (1, 4, 16, 32, 32)  # of the layers, relative to `channels`
NUM_SPECTRAL_LAYERS = 5


@configuration
class PatchConfig:
    """channels: of the first layer; each of num_layers more has twice as many, up to eight times. All
    layers but the last of these halve frames and bands."""

    channels: int = 64
    num_layers: int = 3


class PatchDiscriminator(nn.Module):
    """Its batch norms always use the statistics of the batch, since it serves in training only."""

    def __init__(self, config: PatchConfig) -> None:
        super().__init__()
        widths = [
            config.channels * min(2**layer, MAX_WIDENING) for layer in range(config.num_layers + 1)
        ]
        layers: list[nn.Module] = [nn.Conv2d(1, widths[0], KERNEL, 2, 1), nn.LeakyReLU(PATCH_SLOPE)]
        for index, (before, width) in enumerate(pairwise(widths), start=1):
            stride = 1 if index == config.num_layers else 2
            layers += [
                nn.Conv2d(before, width, KERNEL, stride, 1, bias=False),
                nn.BatchNorm2d(width, track_running_stats=False),
                nn.LeakyReLU(PATCH_SLOPE),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, KERNEL, 1, 1))
        for module in self.layers:
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, DEVIATION)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, DEVIATION)

    def forward(self, log_mel: Tensor) -> Tensor:
        """log_mel (b, 1, n, k) to a score for each of m patches, (b, m)."""
        return self.layers(log_mel).flatten(1)


@configuration
class WaveDiscriminatorConfig:
    """periods, in samples. fft_sizes, hops and windows, in samples: one of each for each resolution.
    channels: of the narrowest layers."""

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
    """scores: (b, m) from each discriminator; features: (b, …) from each layer of each, scores
    included."""

    scores: tuple[Tensor, ...]
    features: tuple[Tensor, ...]


class WaveDiscriminators(nn.Module):
    """BigVGAN's discriminators, for every period and every resolution."""

    def __init__(self, config: WaveDiscriminatorConfig) -> None:
        super().__init__()
        resolutions = zip(config.fft_sizes, config.hops, config.windows, strict=True)
        by_period = [PeriodDiscriminator(period, config.channels) for period in config.periods]
        by_resolution = [SpectralDiscriminator(*sizes, config.channels) for sizes in resolutions]
        self.discriminators = nn.ModuleList([*by_period, *by_resolution])

    def forward(self, waveform: Tensor) -> Judgement:
        """waveform (b, 1, t), t more than half of the longest FFT, to scores and features."""
        layers = [discriminator(waveform) for discriminator in self.discriminators]
        scores = tuple(by_layer[-1].flatten(1) for by_layer in layers)
        return Judgement(scores, tuple(feature for by_layer in layers for feature in by_layer))


class PeriodDiscriminator(nn.Module):
    """Sees the waveform folded at a period: 2-d convolutions over every period-th sample."""

    def __init__(self, period: int, channels: int) -> None:
        super().__init__()
        self.period = period
        widths = [1, *(channels * width for width in PERIOD_WIDTHS)]
        strides = [3] * (len(PERIOD_WIDTHS) - 1) + [1]
        convs = [
            nn.Conv2d(before, width, (5, 1), (stride, 1), (2, 0))
            for (before, width), stride in zip(pairwise(widths), strides, strict=True)
        ]
        self.layers = layers_of(convs, nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, waveform: Tensor) -> list[Tensor]:
        """waveform (b, 1, t) to the features of each layer, the last of which are scores."""
        padded = F.pad(waveform, (0, -waveform.shape[-1] % self.period), mode="reflect")
        return features_of(self.layers, padded.unflatten(-1, (-1, self.period)))


class SpectralDiscriminator(nn.Module):
    """Sees STFT magnitudes at one resolution."""

    def __init__(self, fft_size: int, hop: int, window: int, channels: int) -> None:
        super().__init__()
        self.fft_size, self.hop, self.window = fft_size, hop, window
        convs = [nn.Conv2d(1, channels, (3, 9), padding=(1, 4))]
        for _ in range(NUM_SPECTRAL_LAYERS - 2):
            convs.append(nn.Conv2d(channels, channels, (3, 9), (1, 2), (1, 4)))
        convs.append(nn.Conv2d(channels, channels, 3, padding=1))
        self.layers = layers_of(convs, nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, waveform: Tensor) -> list[Tensor]:
        """waveform (b, 1, t) to the features of each layer, the last of which are scores."""
        return features_of(self.layers, self.magnitudes(waveform)[:, None])

    def magnitudes(self, waveform: Tensor) -> Tensor:
        """(b, 1, t) to (b, f, n), n about t / hop; the window is rectangular, as published."""
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
    """The convolutions with weight norm, as modules."""
    return nn.ModuleList(weight_normed(conv) for conv in [*convs, last])


def features_of(layers: nn.ModuleList, hidden: Tensor) -> list[Tensor]:
    """The output of each layer, after its activation; the last layer has none."""
    features = []
    for layer in layers[:-1]:
        hidden = F.leaky_relu(layer(hidden), WAVE_SLOPE)
        features.append(hidden)
    return [*features, layers[-1](hidden)]

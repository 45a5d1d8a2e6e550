"""Demucs: a U-Net on the waveform with gated convolutions, and an LSTM at its lowest level.

Défossez, Usunier, Bottou and Bach, "Music source separation in the waveform domain" (arXiv 1911.13254),
sec. 4. Goes with `analyses/waveform.py` and `heads/waveform.py`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.settings import configuration

from ..composition import Inject
from ..demucs.initial_scale import scale_initial_weights


@configuration
class Config:
    """channels: of the first of num_levels levels; each level has `growth` times those of the one
    before. kernel_samples, stride_samples: of the convolutions of every level, in steps of that level."""

    channels: int = 64
    num_levels: int = 6
    growth: int = 2
    kernel_samples: int = 8
    stride_samples: int = 4
    num_lstm_layers: int = 2


def build(config: Config, channels: int, num_bands: int, num_maps: int, causal: bool) -> Demucs:
    """The U-Net for `channels` input channels. ValueError if causal, or if the analysis is not
    `waveform`."""
    if causal:
        raise ValueError("Demucs is not causal: its LSTM runs both ways")
    if num_bands != 1:
        raise ValueError("Demucs works on waveforms: its analysis must be 'waveform'")
    return Demucs(config, channels, num_maps)


class Demucs(nn.Module):
    """The query conditions the lowest level, before the LSTM."""

    complete = True

    def __init__(self, config: Config, inputs: int, num_maps: int) -> None:
        super().__init__()
        self.width = num_maps
        self.kernel, self.stride = config.kernel_samples, config.stride_samples
        sizes = [config.channels * config.growth**level for level in range(config.num_levels)]
        self.sites = (sizes[-1],)
        self.encoders, self.decoders = nn.ModuleList(), nn.ModuleList()
        for level, size in enumerate(sizes):
            outer = sizes[level - 1] if level else inputs
            down = nn.Conv1d(outer, size, self.kernel, self.stride)
            gate = nn.Sequential(nn.Conv1d(size, 2 * size, 1), nn.GLU(dim=1))
            self.encoders.append(nn.Sequential(down, nn.ReLU(), gate))
            gate = nn.Sequential(nn.Conv1d(size, 2 * size, 3, padding=1), nn.GLU(dim=1))
            up = nn.ConvTranspose1d(size, outer if level else num_maps, self.kernel, self.stride)
            active = nn.ReLU() if level else nn.Identity()
            self.decoders.insert(0, nn.Sequential(gate, up, active))
        self.lstm = nn.LSTM(
            *(sizes[-1], sizes[-1], config.num_lstm_layers), batch_first=True, bidirectional=True
        )
        self.out = nn.Linear(2 * sizes[-1], sizes[-1])
        scale_initial_weights(self)

    def forward(self, features: Tensor, inject: Inject) -> Tensor:
        """(b, c, 1, t) to maps (b, num_maps, 1, t)."""
        num_samples = features.shape[-1]
        hidden = F.pad(features[:, :, 0], (0, self.fitting(num_samples) - num_samples))
        skips = []
        for encoder in self.encoders:
            hidden = encoder(hidden)
            skips.append(hidden)
        rows, _ = self.lstm(inject(0, hidden).transpose(1, 2))
        hidden = self.out(rows).transpose(1, 2)
        for decoder, skip in zip(self.decoders, reversed(skips), strict=True):
            hidden = decoder(hidden + skip)
        return hidden[:, :, None, :num_samples]

    def fitting(self, num_samples: int) -> int:
        """The smallest length of at least num_samples that the strides of all levels divide without
        remainder."""
        length = num_samples
        for _ in self.encoders:
            length = max(1, -(-(length - self.kernel) // self.stride) + 1)
        for _ in self.encoders:
            length = (length - 1) * self.stride + self.kernel
        return length

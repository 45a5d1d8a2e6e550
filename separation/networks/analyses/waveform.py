"""Samples as they are."""

from __future__ import annotations

from torch import Tensor, nn

from qsep.queries.settings import configuration


@configuration
class Config:
    """Nothing to set."""


def build(config: Config, sample_rate: int, num_channels: int, causal: bool) -> Waveform:
    return Waveform(num_channels)


class Waveform(nn.Module):
    """See `composition.Analysis`: f = k = 1, and a frame is a sample."""

    num_bands = hop_samples = latency_samples = 1

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.channels = num_channels

    def carrier(self, waveform: Tensor) -> Tensor:
        return waveform[:, :, None]

    def features(self, carrier: Tensor) -> Tensor:
        return carrier

    def readout(self, width: int, num_maps: int) -> nn.Module:
        return nn.Conv2d(width, num_maps, 1)

    def decode(self, carrier: Tensor, num_samples: int) -> Tensor:
        return carrier[:, :, 0, :num_samples]

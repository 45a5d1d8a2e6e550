"""The waveform itself, for backbones that work on samples."""

from __future__ import annotations

from torch import Tensor, nn

from qsep.queries.settings import configuration


@configuration
class Config:
    """No settings."""


def build(config: Config, sample_rate: int, num_channels: int, causal: bool) -> Waveform:
    """The identity analysis for num_channels channels."""
    return Waveform(num_channels)


class Waveform(nn.Module):
    """See `composition.Analysis`: f = k = 1, and a frame is one sample."""

    num_bands = hop_samples = latency_samples = 1
    direct = True
    streams = False

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.channels = self.carrier_channels = num_channels

    def carrier(self, waveform: Tensor) -> Tensor:
        """(b, c, t) to (b, c, 1, t)."""
        return waveform[:, :, None]

    def features(self, carrier: Tensor) -> Tensor:
        """(b, c, 1, t), unchanged."""
        return carrier

    def readout(self, width: int, num_maps: int) -> nn.Module:
        """A 1 x 1 convolution (b, width, 1, t) to (b, num_maps, 1, t)."""
        return nn.Conv2d(width, num_maps, 1)

    def decode(self, carrier: Tensor, num_samples: int) -> Tensor:
        """(b, c, 1, t') to (b, c, t), t = num_samples."""
        return carrier[:, :, 0, :num_samples]

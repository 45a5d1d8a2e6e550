"""A learned filterbank (Luo and Mesgarani, "Conv-TasNet", 2019, sec. II-B)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.settings import configuration


@configuration
class Config:
    """kernel_samples: length of the filters, twice their hop. rectified: apply a ReLU to their output.
    readout: "linear", or "gated" (tanh times sigmoid, the same weights for every map). centred: the first
    filters are centred on the first sample; otherwise they begin with it, as in the released MossFormer2,
    and only one filter covers each of the first and last hop samples."""

    num_filters: int = 512
    kernel_samples: int = 16
    rectified: bool = True
    readout: str = "linear"
    centred: bool = True

    def __post_init__(self) -> None:
        if self.readout not in ("linear", "gated"):
            raise ValueError(f"readout is {self.readout!r}; expected 'linear' or 'gated'")
        if self.kernel_samples < 2 or self.kernel_samples % 2:
            raise ValueError(f"kernel_samples is {self.kernel_samples}; expected an even number")


def build(config: Config, sample_rate: int, num_channels: int, causal: bool) -> Filterbank:
    """The filterbank for num_channels channels; it does not depend on the sample rate and is always
    causal."""
    return Filterbank(config, num_channels)


class Filterbank(nn.Module):
    """See `composition.Analysis`. Features are (b, num_filters, 1, n); the carrier is
    (b, 1, num_filters, n), with one channel however many the waveform has."""

    num_bands = carrier_channels = 1
    direct = False
    streams = False

    def __init__(self, config: Config, num_channels: int) -> None:
        super().__init__()
        self.channels, self.rectified = config.num_filters, config.rectified
        self.gated = config.readout == "gated"
        self.latency_samples, self.hop_samples = config.kernel_samples, config.kernel_samples // 2
        # Zeros before the first sample and after the last.
        self.margin = self.hop_samples if config.centred else 0
        size = (config.kernel_samples, self.hop_samples)
        self.encoder = nn.Conv1d(num_channels, config.num_filters, *size, bias=False)
        self.decoder = nn.ConvTranspose1d(config.num_filters, num_channels, *size, bias=False)

    def carrier(self, waveform: Tensor) -> Tensor:
        """(b, c, t) to filter outputs (b, 1, num_filters, n), n frames that cover every sample: twice, if
        centred."""
        hop, num_samples = self.hop_samples, waveform.shape[-1]
        shortest = 2 * (hop - self.margin)  # of which there is one frame
        missing = max(-num_samples % hop, shortest - num_samples)
        filtered = self.encoder(F.pad(waveform, (self.margin, self.margin + missing)))[:, None]
        return F.relu(filtered) if self.rectified else filtered

    def features(self, carrier: Tensor) -> Tensor:
        """(b, 1, num_filters, n) to (b, num_filters, 1, n)."""
        return carrier.transpose(1, 2)

    def readout(self, width: int, num_maps: int) -> nn.Module:
        """A module (b, width, 1, n) to (b, num_maps, num_filters, n)."""
        kind = GatedReadout if self.gated else FilterReadout
        return kind(width, num_maps, self.channels)

    def decode(self, carrier: Tensor, num_samples: int) -> Tensor:
        """(b, 1, num_filters, n) to (b, c, t), t = num_samples."""
        waveform: Tensor = self.decoder(carrier[:, 0])
        return waveform[..., self.margin : self.margin + num_samples]


class FilterReadout(nn.Module):
    """PReLU and a linear layer."""

    def __init__(self, width: int, num_maps: int, num_filters: int) -> None:
        super().__init__()
        self.num_maps = num_maps
        self.active = nn.PReLU()
        self.out = nn.Conv1d(width, num_maps * num_filters, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """(b, width, 1, n) to (b, num_maps, num_filters, n)."""
        maps: Tensor = self.out(self.active(hidden[:, :, 0]))
        return maps.unflatten(1, (self.num_maps, -1))


class GatedReadout(nn.Module):
    """As FilterReadout, with a gated output layer: Zhao et al., "MossFormer2" (2024), sec. 2.1."""

    def __init__(self, width: int, num_maps: int, num_filters: int) -> None:
        super().__init__()
        self.spread = FilterReadout(width, num_maps, width)
        self.value, self.gate = nn.Conv1d(width, width, 1), nn.Conv1d(width, width, 1)
        self.out = nn.Conv1d(width, num_filters, 1, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """(b, width, 1, n) to (b, num_maps, num_filters, n)."""
        maps = self.spread(hidden)
        rows = maps.flatten(0, 1)
        gated: Tensor = self.out(torch.tanh(self.value(rows)) * torch.sigmoid(self.gate(rows)))
        return gated.unflatten(0, maps.shape[:2])

"""STFT split into bands that do not overlap, each mapped to the backbone's width by a learned layer.

Luo and Yu, "Music source separation with band-split RNN" (2023), sec. II-A and II-C.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.settings import MAX_SAMPLES, Range, configuration

from ...signal.stft import hann_istft, hann_stft
from ..blocks.band_split import EPSILON, Bands, BandSplit, GatedLinear, GatedMlp
from .stft import Config as StftConfig
from .stft import Stft

RELEASED_EPSILON = torch.finfo(torch.float32).eps  # of the band norms of TIGER's released code

# (width in Hz, number of bands), from 0 Hz up; one last band takes the rest up to Nyquist.
SCHEMES: dict[str, tuple[tuple[float, int], ...]] = {
    # Luo and Yu (2023), sec. III-B, "V7"
    "bsrnn": ((100, 10), (250, 12), (500, 8), (1000, 8), (2000, 2)),
    # Xu et al. (2025), sec. 3.2, for speech at 16 kHz
    "tiger": ((25, 40), (100, 10), (250, 8), (500, 8)),
    # the same up to 8 kHz, and on to 16 kHz
    "tiger-wide": ((25, 40), (100, 10), (250, 8), (500, 8), (1000, 7)),
    # the released TIGER-DnR, at 44.1 kHz
    "tiger-dnr": ((50, 20), (100, 10), (250, 8), (500, 8), (1000, 8), (2000, 2)),
    # not published; for small models: 28 bands at 32 kHz
    "coarse": ((125, 8), (250, 8), (500, 4), (1000, 4), (2000, 3)),
}


@configuration
class Config:
    """hop_samples: 0 for half a window. scheme: a key of SCHEMES, or "widths" to give the number of
    bins of each band. width: channels of the backbone. norm: of each band, "global"
    (over channels and frames), "frame" (over channels; causal models always use this one) or "rms".
    readout: "mlp" (uses hidden_factor) or "linear" (uses shares); see `blocks/band_split.py`. released:
    details of TIGER's released code, for its weights: Hann windows, the waveform mirrored at its ends,
    another epsilon of the norms, and values and gates as the halves of all shares' outputs."""

    window_samples: int = 1280
    hop_samples: Annotated[int, Range(0, MAX_SAMPLES)] = 0
    scheme: str = "coarse"
    widths: tuple[int, ...] = ()
    width: int = 48
    norm: str = "global"
    readout: str = "mlp"
    readout_norm: str = "global"
    hidden_factor: int = 4
    shares: int = 1
    released: bool = False

    def __post_init__(self) -> None:
        if self.readout not in ("mlp", "linear"):
            raise ValueError(f"readout is {self.readout!r}; expected 'mlp' or 'linear'")
        if self.scheme != "widths" and self.scheme not in SCHEMES:
            known = ", ".join([*SCHEMES, "widths"])
            raise ValueError(f"scheme is {self.scheme!r}; expected one of {known}")


def build(config: Config, sample_rate: int, num_channels: int, causal: bool) -> BandAnalysis:
    """The analysis for num_channels channels at sample_rate Hz. ValueError if the widths do not sum to
    the number of bins, and for released ones that are causal."""
    if causal and config.released:
        raise ValueError("the STFT of TIGER's released code is not causal: set released = false")
    num_bins = config.window_samples // 2 + 1
    if config.scheme == "widths":
        widths = list(config.widths)
        if sum(widths) != num_bins:
            raise ValueError(f"widths sum to {sum(widths)}; the spectrum has {num_bins} bins")
    else:
        widths = widths_in_bins(config.scheme, num_bins, sample_rate)
    return BandAnalysis(config, adjacent_bands(widths), num_channels, causal)


def adjacent_bands(widths: Sequence[int]) -> Bands:
    """Bands of these widths in bins, side by side from the first bin up."""
    ends = list(accumulate(widths))
    bins = [range(end - width, end) for width, end in zip(widths, ends, strict=True)]
    return Bands(bins, sum(widths))


def widths_in_bins(scheme: str, num_bins: int, sample_rate: int) -> list[int]:
    """Widths of a scheme's bands in bins, at least one each: as many bands as fit below the Nyquist
    frequency, then one band with the remaining bins."""
    widths: list[int] = []
    for width_hz, number in SCHEMES[scheme]:
        bins = max(1, int(width_hz / (sample_rate / 2) * num_bins))
        for _ in range(number):
            if sum(widths) + bins < num_bins:
                widths.append(bins)
    return [*widths, num_bins - sum(widths)]


class BandAnalysis(nn.Module):
    """See `composition.Analysis`; the carrier is the STFT."""

    direct = False
    streams = True

    def __init__(self, config: Config, bands: Bands, num_channels: int, causal: bool) -> None:
        super().__init__()
        self.config, self.bands, self.causal = config, bands, causal
        self.stft = Stft(
            StftConfig(config.window_samples, config.hop_samples), num_channels, causal
        )
        self.window_samples, self.hop_samples = config.window_samples, self.stft.hop_samples
        self.latency_samples = self.stft.latency_samples
        self.channels, self.num_bands = config.width, bands.num_bands
        self.carrier_channels = num_channels
        norm, epsilon = causal_norm(config.norm, causal), EPSILON
        if config.released:
            epsilon = RELEASED_EPSILON
        self.split = BandSplit(bands, 2 * num_channels, config.width, norm, epsilon)

    def carrier(self, waveform: Tensor) -> Tensor:
        """(b, c, t) to the complex STFT (b, c, f, n)."""
        if not self.config.released:
            return self.stft.carrier(waveform)
        # More than half a window, which is mirrored.
        missing = max(0, self.window_samples // 2 + 1 - waveform.shape[-1])
        waveform = F.pad(waveform, (0, missing))
        return hann_stft(waveform, self.window_samples, self.hop_samples, "reflect")

    def features(self, carrier: Tensor) -> Tensor:
        """Complex (b, c, f, n) to real (b, width, k, n)."""
        features: Tensor = self.split(self.stft.features(carrier))
        return features

    def readout(self, width: int, num_maps: int) -> nn.Module:
        """A module (b, width, k, n) to (b, num_maps, f, n)."""
        config = self.config
        if config.readout == "linear":
            return GatedLinear(self.bands, width, num_maps, config.shares, joined=config.released)
        norm = causal_norm(config.readout_norm, self.causal)
        return GatedMlp(self.bands, width, num_maps, config.hidden_factor, norm)

    def decode(self, carrier: Tensor, num_samples: int) -> Tensor:
        """Complex (b, c, f, n) to (b, c, t), t = num_samples."""
        if not self.config.released:
            return self.stft.decode(carrier, num_samples)
        return hann_istft(carrier, self.window_samples, self.hop_samples, num_samples)


def causal_norm(norm: str, causal: bool) -> str:
    """The norm to use: causal models get "frame" in place of "global", whose statistics need later
    frames."""
    return "frame" if causal and norm == "global" else norm

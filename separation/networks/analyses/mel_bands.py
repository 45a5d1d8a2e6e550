"""STFT split into overlapping bands on the mel scale.

Wang, Lu and Won, "Mel-band RoFormer for music source separation" (2023), sec. 2: a band is the bins
where a mel filter is not zero, mapped by learned weights; a bin that lies in several bands gets the
mean of their estimates.
"""

from __future__ import annotations

from typing import Annotated

import torch

from qsep.queries.settings import MAX_SAMPLES, Range, configuration

from ...signal.mel import MelConfig, mel_filters
from ..blocks.band_split import Bands
from .bands import BandAnalysis
from .bands import Config as BandConfig


@configuration
class Config:
    """num_bands: mel bands from 0 Hz to the Nyquist frequency; other fields as in `bands.Config`."""

    window_samples: int = 2048
    hop_samples: Annotated[int, Range(0, MAX_SAMPLES)] = 0
    num_bands: int = 60
    width: int = 384
    hidden_factor: int = 4


def build(config: Config, sample_rate: int, num_channels: int, causal: bool) -> BandAnalysis:
    """The analysis for num_channels channels at sample_rate Hz. ValueError if a band would hold no bin."""
    settings = BandConfig(
        window_samples=config.window_samples,
        hop_samples=config.hop_samples,
        width=config.width,
        norm="rms",
        readout="mlp",
        readout_norm="none",
        hidden_factor=config.hidden_factor,
    )
    num_bins = config.window_samples // 2 + 1
    bins = mel_bins(config.num_bands, config.window_samples, sample_rate)
    return BandAnalysis(settings, Bands(bins, num_bins), num_channels, causal)


def mel_bins(num_bands: int, window_samples: int, sample_rate: int) -> list[list[int]]:
    """Indices of each band's bins. Mel filters are zero in the first and last bin; these go to the
    first and last band. ValueError if a band would hold no bin, or a bin lie in no band."""
    config = MelConfig(sample_rate, window_samples, 1, num_bands, 0.0, sample_rate / 2)
    with torch.device("cpu"):  # even while a network is built on the meta device
        inside = mel_filters(config) > 0
    inside[0, 0] = inside[-1, -1] = True
    if not inside.any(dim=1).all() or not inside.any(dim=0).all():
        raise ValueError(
            f"{num_bands} mel bands are too many for windows of {window_samples} samples"
        )
    return [band.nonzero()[:, 0].tolist() for band in inside]

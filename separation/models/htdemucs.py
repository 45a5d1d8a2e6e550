"""Hybrid Transformer Demucs as released: a fixed set of stems, of which a query names one.

    mixture (b, c, t) -> segments of segment_seconds -> network -> all stems (b, stems, c, t)
    query: weights of the stems (b, s, stems), one-hot if a label names one
    weighted sums of the stems -> targets (b, s, c, t)

Rouard, Massa and Défossez, "Hybrid transformers for music source separation", ICASSP 2023
(arXiv 2211.08553), sec. 3. For queries in free text the network is a backbone of `queried.py`.
"""

from __future__ import annotations

from dataclasses import field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding
from qsep.queries.settings import configuration

from ..interface import LossOutput, MixtureBatch, Separated, Separator
from ..networks.backbones.htdemucs import Config as NetworkConfig
from ..networks.backbones.htdemucs import HTDemucs
from ..networks.composition import no_query
from ..networks.masks.query_masks import only_queried
from ..objectives.means import mean_of_queried, mean_where
from ..objectives.snr import thresholded_waveform_loss
from ..signal.segments import in_segments


@configuration
class Config:
    """stems: names, in the order of the network's outputs. num_channels: channels of the recordings; 1
    processes each channel separately. segment_seconds: length the network was trained on; shorter
    mixtures are padded with zeros. snr_limit_db: beyond this SNR a stem's gradient vanishes."""

    stems: tuple[str, ...] = ("drums", "bass", "other", "vocals")
    sample_rate: int = 44100
    num_channels: int = 2
    segment_seconds: float = 7.8
    network: NetworkConfig = field(default_factory=NetworkConfig)
    snr_limit_db: float = 30.0


def build(config: Config) -> HTDemucsStems:
    """The separator with these settings and random weights."""
    return HTDemucsStems(config)


class HTDemucsStems(nn.Module, Separator):
    """See the module's docstring. Queries have width len(stems)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.sample_rate, self.query_dim = config.sample_rate, len(config.stems)
        self.num_channels = None if config.num_channels == 1 else config.num_channels
        self.stride_samples = max(1, round(config.segment_seconds * config.sample_rate / 2))
        self.context_samples = 2 * self.stride_samples
        num_maps = len(config.stems) * config.num_channels
        self.network = HTDemucs(config.network, config.num_channels, num_maps)

    def stems(self, mixture: Tensor) -> Tensor:
        """mixture (b, c, t) to all stems (b, stems, c, t)."""
        num, channels, num_samples = mixture.shape
        if self.num_channels is None:
            mixture = mixture.reshape(num * channels, 1, num_samples)
        stems = in_segments(self.segment, mixture, self.stride_samples)
        if self.num_channels is None:
            return stems.reshape(num, channels, -1, num_samples).transpose(1, 2)
        return stems

    def segment(self, mixture: Tensor) -> Tensor:
        """A mixture of at most one segment, (b, c, t), to all stems (b, stems, c, t)."""
        num_samples = mixture.shape[-1]
        padded = F.pad(mixture, (0, self.context_samples - num_samples))
        with torch.autocast(mixture.device.type, enabled=False):
            maps: Tensor = self.network(padded[:, :, None], no_query)
        by_stem = maps[:, :, 0, :num_samples]
        return by_stem.unflatten(1, (len(self.config.stems), -1))

    def separate(
        self, mixture: Tensor, queries: QueryEmbedding, generator: torch.Generator | None = None
    ) -> Separated:
        """mixture (b, c, t); queries.pooled (b, s, stems). target + residual = mixture."""
        target = torch.einsum("bsk,bkct->bsct", queries.pooled, self.stems(mixture))
        return Separated(target, mixture[:, None] - target)

    def loss(
        self, batch: MixtureBatch, queries: QueryEmbedding, generator: torch.Generator
    ) -> LossOutput:
        """Thresholded SNR loss of the waveform, mean over the queries of each mixture."""
        queried = batch.queried()
        target = self.separate(batch.mixture, only_queried(queries, queried)).target
        snr_loss = thresholded_waveform_loss(
            target, batch.sources, batch.mixture[:, None], self.config.snr_limit_db
        )
        terms = {"snr": mean_where(snr_loss.detach(), queried)}
        return LossOutput(total=mean_of_queried(snr_loss, queried), terms=terms)

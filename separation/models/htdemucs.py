"""Hybrid Transformer Demucs as released: a fixed set of stems, a query names one of them.

Rouard, Massa and Défossez, "Hybrid transformers for music source separation", ICASSP 2023 (arXiv 2211.08553).
All stems are computed at once; a query is a vector of weights of the stems, one-hot where a label names one.
For queries in free words it is a backbone of `queried.py`.
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
from ..objectives.snr import thresholded_snr_loss
from ..signal.segments import in_segments


@configuration
class Config:
    """stems: names, in the order of the network's outputs. num_channels: of recordings; 1 takes each channel
    by itself. segment_seconds: length the network was trained on; shorter mixtures are filled up with
    zeros. snr_limit_db: a stem separated better than this gives no gradient."""

    stems: tuple[str, ...] = ("drums", "bass", "other", "vocals")
    sample_rate: int = 44100
    num_channels: int = 2
    segment_seconds: float = 7.8
    network: NetworkConfig = field(default_factory=NetworkConfig)
    snr_limit_db: float = 30.0


def build(config: Config) -> HTDemucsStems:
    return HTDemucsStems(config)


class HTDemucsStems(nn.Module, Separator):
    """See the module's docstring. Queries of width len(stems)."""

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
        """mixture: (b, c, t) to all stems (b, stems, c, t)."""
        num, channels, num_samples = mixture.shape
        if self.num_channels is None:
            mixture = mixture.reshape(num * channels, 1, num_samples)
        found = in_segments(self.segment, mixture, self.stride_samples)
        if self.num_channels is None:
            return found.reshape(num, channels, -1, num_samples).transpose(1, 2)
        return found

    def segment(self, mixture: Tensor) -> Tensor:
        """A mixture no longer than a segment, (b, c, t), to (b, stems, c, t)."""
        num_samples = mixture.shape[-1]
        filled = F.pad(mixture, (0, self.context_samples - num_samples))
        with torch.autocast(mixture.device.type, enabled=False):
            maps: Tensor = self.network(filled[:, :, None], no_query)
        by_stem = maps[:, :, 0, :num_samples]
        return by_stem.unflatten(1, (len(self.config.stems), -1))

    def separate(
        self, mixture: Tensor, queries: QueryEmbedding, generator: torch.Generator | None = None
    ) -> Separated:
        """mixture: (b, c, t); queries.pooled: (b, s, stems). target + residual = mixture."""
        target = torch.einsum("bsk,bkct->bsct", queries.pooled, self.stems(mixture))
        return Separated(target, mixture[:, None] - target)

    def loss(
        self, batch: MixtureBatch, queries: QueryEmbedding, generator: torch.Generator
    ) -> LossOutput:
        """Thresholded SNR of the waveform, mean over the queries of each mixture."""
        queried = batch.queried()
        target = self.separate(batch.mixture, only_queried(queries, queried)).target
        error, energy, whole = (
            waveform.square().sum(dim=(-2, -1))
            for waveform in (target - batch.sources, batch.sources, batch.mixture[:, None])
        )
        snr_loss = thresholded_snr_loss(error, energy, whole, self.config.snr_limit_db)
        # 1e-9: a mixture of which nothing is queried has nothing to learn from, not 0 / 0
        total = (queried * snr_loss).sum(dim=1) / queried.sum(dim=1).clamp_min(1e-9)
        terms = {"snr": torch.where(queried, snr_loss.detach(), torch.nan).nanmean(dim=1)}
        return LossOutput(total=total, terms=terms)

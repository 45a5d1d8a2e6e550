"""Separators of speakers as released, MossFormer2 and TIGER-speech: a query names an output by its number.

    mixture (b, c, t) -> segments, each channel by itself -> analysis -> carrier (b c, 1, f, n)
    features -> backbone -> readout -> maps (b c, m, f, n) -> head -> outputs (b c, o, t)
    one gain for all outputs of a segment; channels and segments in one order -> outputs (b, o, c, t)
    query: weights of the outputs (b, s, o), one-hot if a label names one
    weighted sums of the outputs -> targets (b, s, c, t)

The parts are those of `queried.py`, with the same names, and none is told what is wanted. The networks were
trained with permutation-invariant losses: "speaker 1" is the one that comes out first, which may be anybody.
Each recording is separated from its beginning on, so that the same number stays with the same speaker; see
`_aligned_outputs.py` for when it does not. Target levels are those of the mixture: the released code of
MossFormer2 raises every output to the mixture's level instead, the output of a silent speaker too.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any

import torch
from torch import Tensor, nn

import qsep.separation.networks.analyses
import qsep.separation.networks.backbones
import qsep.separation.networks.heads
from qsep.queries.interface import QueryEmbedding
from qsep.queries.settings import configuration

from ..interface import Capabilities, Core, LossOutput, MixtureBatch, Separated, Separator
from ..networks.composition import Analysis, Backbone, Head, no_query
from ..networks.masks.query_masks import only_queried
from ..objectives.means import mean_of_queried, mean_where
from ..objectives.snr import thresholded_waveform_loss
from ._aligned_outputs import AlignedOutputs, LiveOutputs, channels_in_one_order, levelled
from .queried import part


@configuration
class Config:
    """speakers: names of the outputs. analysis, backbone, head: "kind" and settings of each part, as of
    `queried`; the defaults are MossFormer2's. segment_seconds: length of a segment; neighbours overlap by
    half. snr_limit_db: beyond this SNR an output's gradient vanishes."""

    speakers: tuple[str, ...] = ("speaker 1", "speaker 2")
    sample_rate: int = 16000
    analysis: dict[str, Any] = field(
        default_factory=lambda: {"kind": "filterbank", "readout": "gated", "centred": False}
    )
    backbone: dict[str, Any] = field(default_factory=lambda: {"kind": "mossformer2"})
    head: dict[str, Any] = field(
        default_factory=lambda: {"kind": "magnitude_mask", "activation": "relu"}
    )
    segment_seconds: float = 8.0
    snr_limit_db: float = 30.0

    def __post_init__(self) -> None:
        if not self.speakers:
            raise ValueError("speakers is empty; expected one name or more")
        if self.segment_seconds <= 0:
            raise ValueError(f"segment_seconds is {self.segment_seconds}; expected more than 0")


def build(config: Config) -> Speakers:
    """The separator with these settings and random weights. ValueError if the parts do not fit
    together."""
    return Speakers(config)


class Speakers(nn.Module, Separator):
    """See the module's docstring. Queries have width len(speakers). The order of the outputs apart, an output
    sample depends on no input farther away than a segment."""

    num_channels = None
    capabilities = Capabilities(streaming=True)

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.sample_rate, self.query_dim = config.sample_rate, len(config.speakers)
        networks = qsep.separation.networks
        self.analysis: Analysis = part(
            networks.analyses, config.analysis, config.sample_rate, 1, False
        )
        self.head: Head = part(networks.heads, config.head)
        num_maps = self.query_dim * self.head.num_maps
        shape = (self.analysis.channels, self.analysis.num_bands)
        self.backbone: Backbone = part(networks.backbones, config.backbone, *shape, num_maps, False)
        if self.backbone.complete:
            raise ValueError(
                f"{config.backbone['kind']} makes maps itself; speakers need a readout"
            )
        self.readout = self.analysis.readout(self.backbone.width, num_maps)
        half, hop = (
            round(config.segment_seconds * config.sample_rate / 2),
            self.analysis.hop_samples,
        )
        self.stride_samples = -(-half // hop) * hop
        self.context_samples = 2 * self.stride_samples

    def network(self, mixture: Tensor) -> Tensor:
        """Of one channel, (b, t), the outputs as the network gives them: (b, o, t)."""
        with torch.autocast(mixture.device.type, enabled=False):
            carrier = self.analysis.carrier(mixture[:, None])
            features = self.analysis.features(carrier)
        maps = self.readout(self.backbone(features, no_query))
        with torch.autocast(mixture.device.type, enabled=False):
            maps = maps.float() if maps.dtype == torch.bfloat16 else maps
            by_output = maps.unflatten(1, (self.query_dim, 1, self.head.num_maps))
            carriers = self.head(by_output, carrier)
            outputs = self.analysis.decode(carriers.flatten(0, 1), mixture.shape[-1])
        return outputs[:, 0].unflatten(0, carriers.shape[:2])

    def segment(self, mixture: Tensor) -> Tensor:
        """A mixture of at most one segment, (b, c, t), to the outputs (b, o, c, t)."""
        flat = mixture.flatten(0, 1)
        outputs = levelled(self.network(flat), flat).unflatten(0, mixture.shape[:2])
        return channels_in_one_order(outputs).transpose(1, 2)

    def targets(self, mixture: Tensor, weights: Tensor) -> Tensor:
        """mixture (b, c, t), weights (b, s, o) to weighted sums of the outputs (b, s, c, t)."""
        joined = AlignedOutputs(self.segment, self.stride_samples)
        outputs = torch.cat([*joined.push(mixture), *joined.finish()], dim=-1)
        return torch.einsum("bso,boct->bsct", weights, outputs)

    def separate(
        self, mixture: Tensor, queries: QueryEmbedding, generator: torch.Generator | None = None
    ) -> Separated:
        """mixture (b, c, t); queries.pooled (b, s, o). target + residual = mixture."""
        target = self.targets(mixture, queries.pooled)
        return Separated(target, mixture[:, None] - target)

    def live(self, queries: QueryEmbedding, num_channels: int) -> Core:
        """See `Separator.live`; the latency is a segment."""
        like = next(self.parameters())
        return LiveOutputs(self.segment, self.stride_samples, queries, like)

    def loss(
        self, batch: MixtureBatch, queries: QueryEmbedding, generator: torch.Generator
    ) -> LossOutput:
        """Thresholded SNR loss of the waveform, mean over the queries of each mixture; each output learns
        what its name is a query for."""
        queried = batch.queried()
        target = self.targets(batch.mixture, only_queried(queries, queried).pooled)
        snr_loss = thresholded_waveform_loss(
            target, batch.sources, batch.mixture[:, None], self.config.snr_limit_db
        )
        terms = {"snr": mean_where(snr_loss.detach(), queried)}
        return LossOutput(total=mean_of_queried(snr_loss, queried), terms=terms)

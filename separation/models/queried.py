"""Separators composed of parts: analysis, backbone, entry of the query, head.

    mixture (b, c, t) -> analysis -> carrier (b, c, f, n), divided by its level -> features (b, d, k, n)
    features -> backbone, conditioned on the query by the entry -> readout -> maps (b s, m, f, n)
    maps and carrier -> head -> carriers of target and residual (b, s, 2, c, f, n)
    carriers -> analysis -> waveforms (b, s, 2, c, t)

`networks/composition.py` defines the parts' interfaces. Each part is a file in a folder beside it,
chosen in the configuration by `kind`. Target and residual come in this order, so training needs no
permutation. Long recordings are separated in segments.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, cast

import torch
from torch import Tensor, nn

import qsep.separation.networks.analyses
import qsep.separation.networks.backbones
import qsep.separation.networks.entries
import qsep.separation.networks.heads
from qsep.queries.interface import QueryEmbedding
from qsep.queries.settings import configuration

from ..components import from_settings, load_component
from ..interface import Capabilities, Core, LossOutput, MixtureBatch, Separated, Separator
from ..networks.composition import Analysis, Backbone, CausalBackbone, Entry, Head, Inject
from ..networks.masks.query_masks import only_queried
from ..objectives.means import mean_where, weighted_mean
from ..objectives.snr import thresholded_waveform_loss
from ..signal.running_level import running_level
from ..signal.segments import in_segments

OUTPUTS = 2  # target, residual
LEVEL_FLOOR = 1e-16  # mean square of the carrier; full scale is around 1


@configuration
class Config:
    """sample_rate in Hz. num_channels: channels of the recordings; 1 processes each channel separately.

    analysis, backbone, entry, head: "kind" and settings of each part. causal: an output sample depends
    on no input later than the analysis' window; the level is then a running one with a half-life of
    level_seconds. consistent: adds what the two outputs lack of the mixture to both in equal parts
    (Wisdom et al., "Differentiable consistency constraints for improved deep speech enhancement", 2019,
    eq. 8); with the heads "spectrum" and "waveform" a network may then learn to give nothing, which becomes
    half of the mixture. segment_seconds: length of a segment; neighbours overlap by half.

    residual_weight: weight of the residual in the loss. absent_weight: weight of queries for absent
    sounds. snr_limit_db: beyond this SNR an item's gradient vanishes.
    """

    query_dim: int = 384
    sample_rate: int = 32000
    num_channels: int = 1
    analysis: dict[str, Any] = field(default_factory=lambda: {"kind": "bands"})
    backbone: dict[str, Any] = field(default_factory=lambda: {"kind": "bsrnn", "num_layers": 4})
    entry: dict[str, Any] = field(default_factory=lambda: {"kind": "film"})
    head: dict[str, Any] = field(default_factory=lambda: {"kind": "complex_mask"})
    causal: bool = False
    level_seconds: float = 1.0
    consistent: bool = True
    segment_seconds: float = 8.0
    residual_weight: float = 0.5
    absent_weight: float = 0.1
    snr_limit_db: float = 30.0

    def __post_init__(self) -> None:
        if self.segment_seconds <= 0 or self.level_seconds <= 0:
            raise ValueError("segment_seconds and level_seconds must be more than 0")
        if self.num_channels < 1:
            raise ValueError(f"num_channels is {self.num_channels}; expected 1 or more")


def build(config: Config) -> Queried:
    """The separator with these settings and random weights. ValueError if the parts do not fit
    together."""
    return Queried(config)


def part(package: Any, settings: dict[str, Any], *arguments: Any) -> Any:
    """Builds a part from a folder of parts, by its kind and settings, and arguments given by the other
    parts."""
    if "kind" not in settings:
        raise ValueError(f"a part of {package.__name__} needs a kind, got {settings}")
    module = load_component(package, settings["kind"])
    own_settings = {name: value for name, value in settings.items() if name != "kind"}
    return module.build(from_settings(module.Config, own_settings), *arguments)


class Queried(nn.Module, Separator):
    """See the module's docstring."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.sample_rate, self.query_dim = config.sample_rate, config.query_dim
        self.num_channels = None if config.num_channels == 1 else config.num_channels
        networks = qsep.separation.networks
        self.analysis: Analysis = part(
            networks.analyses,
            config.analysis,
            *(config.sample_rate, config.num_channels, config.causal),
        )
        self.head: Head = part(networks.heads, config.head)
        num_maps = OUTPUTS * self.analysis.carrier_channels * self.head.num_maps
        shape = (self.analysis.channels, self.analysis.num_bands)
        self.backbone: Backbone = part(
            networks.backbones, config.backbone, *shape, num_maps, config.causal
        )
        self.entry: Entry = part(
            networks.entries,
            config.entry,
            *(config.query_dim, self.backbone.sites, self.backbone.width),
        )
        if self.backbone.complete and self.entry.late:
            raise ValueError(
                f"{config.backbone['kind']} makes maps itself: its entry must be film or cross_attention"
            )
        if self.backbone.complete and not self.analysis.direct:
            raise ValueError(
                f"{config.backbone['kind']} makes maps itself: its analysis must be 'stft' or 'waveform'"
            )
        self.readout = (
            nn.Identity()
            if self.backbone.complete
            else self.analysis.readout(self.backbone.width, num_maps)
        )
        half = round(config.segment_seconds * config.sample_rate / 2)
        self.stride_samples = -(-half // self.analysis.hop_samples) * self.analysis.hop_samples
        self.context_samples = 2 * self.stride_samples
        steps = config.causal and isinstance(self.backbone, CausalBackbone)
        self.capabilities = Capabilities(streaming=steps and self.analysis.streams)

    def live(self, queries: QueryEmbedding, num_channels: int) -> Core:
        """See `Separator.live`."""
        from . import _queried_live  # imported here, since it imports this module

        return _queried_live.live(self, queries, num_channels)

    def blocks(self) -> list[nn.Module]:
        """The backbone's layers, if it is a sequence of them."""
        children = cast(nn.Module, self.backbone).children()
        lists = [child for child in children if isinstance(child, nn.ModuleList)]
        return [block for blocks in lists for block in blocks]

    def level(self, carrier: Tensor) -> Tensor:
        """Root mean square of the carrier (b, c, f, n), overall (b, 1, 1, 1), or up to each frame
        (b, 1, 1, n) if causal."""
        power = carrier.abs().square().mean(dim=(1, 2), keepdim=True)
        if self.config.causal:
            return running_level(power, self.decay, None)[0].sqrt()
        return power.mean(dim=-1, keepdim=True).sqrt()

    @property
    def decay(self) -> float:
        """Factor by which the running level's past is weighted down in each frame."""
        frames = self.config.level_seconds * self.sample_rate / self.analysis.hop_samples
        return float(2 ** (-1 / frames))

    def outputs(self, mixture: Tensor, queries: QueryEmbedding) -> Tensor:
        """mixture (b, c, t), queries (b, s, ...) to target and residual (b, s, 2, c, t), in one pass."""
        num, channels, num_samples = mixture.shape
        num_queries = queries.pooled.shape[1]
        if self.num_channels is None:  # each channel is an item
            mixture = mixture.reshape(num * channels, 1, num_samples)
            queries = queries.map(lambda entry: entry.repeat_interleave(channels, dim=0))
        with torch.autocast(mixture.device.type, enabled=False):
            carrier = self.analysis.carrier(mixture)
            level = self.level(carrier)
            scaled = carrier / (level.square() + LEVEL_FLOOR).sqrt()
        maps = self.maps(self.analysis.features(scaled), queries)
        with torch.autocast(mixture.device.type, enabled=False):
            waveforms = self.synthesise(
                maps.float() if maps.dtype == torch.bfloat16 else maps, scaled, level, num_samples
            )
        if self.config.consistent:
            missing = mixture[:, None, None] - waveforms.sum(dim=2, keepdim=True)
            waveforms = waveforms + missing / OUTPUTS
        if self.num_channels is None:
            waveforms = waveforms.reshape(num, channels, num_queries, OUTPUTS, num_samples)
            return waveforms.permute(0, 2, 3, 1, 4)
        return waveforms

    def maps(self, features: Tensor, queries: QueryEmbedding) -> Tensor:
        """features (b, d, k, n), queries (b, s, ...) to the head's maps (b s, m, f, n)."""
        num_queries = queries.pooled.shape[1]
        if self.entry.late:
            hidden = self.backbone(features, self.injector(None))
            hidden = self.entry.fuse(hidden, queries).flatten(0, 1)
        else:
            rows = queries.map(lambda entry: entry.flatten(0, 1))
            hidden = self.backbone(
                features.repeat_interleave(num_queries, dim=0), self.injector(rows)
            )
        maps: Tensor = self.readout(hidden)
        return maps

    def injector(self, rows: QueryEmbedding | None) -> Inject:
        """The function that a backbone calls at its sites; without queries it changes nothing."""
        if rows is None:
            return lambda site, hidden: hidden
        return lambda site, hidden: self.entry.inject(site, hidden, rows)

    def synthesise(self, maps: Tensor, carrier: Tensor, level: Tensor, num_samples: int) -> Tensor:
        """maps (b s, m, f, n), carrier over its level (b, c, f, n), level (b, 1, 1, 1 or n) to
        waveforms (b, s, 2, c, t)."""
        estimates = self.estimates(maps, carrier) * level[:, None, None]
        flat = self.analysis.decode(estimates.flatten(0, 2), num_samples)
        return flat.unflatten(0, estimates.shape[:3])

    def estimates(self, maps: Tensor, carrier: Tensor) -> Tensor:
        """maps (b s, m, f, n), carrier (b, c, f, n) to carriers of target and residual
        (b, s, 2, c, f, n)."""
        num, num_queries = len(carrier), len(maps) // len(carrier)
        by_output = maps.unflatten(1, (OUTPUTS, self.analysis.carrier_channels, self.head.num_maps))
        carriers = self.head(by_output, carrier.repeat_interleave(num_queries, dim=0))
        return carriers.unflatten(0, (num, num_queries))

    def separated(self, mixture: Tensor, queries: QueryEmbedding) -> Tensor:
        """As `outputs`, in segments if the mixture is longer than one."""
        return in_segments(
            lambda segment: self.outputs(segment, queries), mixture, self.stride_samples
        )

    def separate(
        self, mixture: Tensor, queries: QueryEmbedding, generator: torch.Generator | None = None
    ) -> Separated:
        """mixture (b, c, t), any scale; queries.pooled (b, s, q).

        With `consistent`, target + residual = mixture.
        """
        outputs = self.separated(mixture, queries)
        target = outputs[:, :, 0]
        if self.config.consistent:  # exact, whereas the outputs sum to it up to rounding
            return Separated(target, mixture[:, None] - target)
        return Separated(target, outputs[:, :, 1])

    def loss(
        self, batch: MixtureBatch, queries: QueryEmbedding, generator: torch.Generator
    ) -> LossOutput:
        """Thresholded SNR loss of target and residual, mean over the queries of each mixture."""
        queried = batch.queried()
        present = queried & (batch.sources.abs().amax(dim=(-2, -1)) > 0)
        absent = queried & ~present
        outputs = self.separated(batch.mixture, only_queried(queries, queried))
        mixture = batch.mixture[:, None]
        truth = torch.stack([batch.sources, mixture - batch.sources], dim=2)
        snr_loss = thresholded_waveform_loss(
            outputs, truth, mixture[:, :, None], self.config.snr_limit_db
        )
        weights = snr_loss.new_tensor([1.0, self.config.residual_weight])
        cost = (weights * snr_loss).sum(dim=-1) / weights.sum()
        weight = present + self.config.absent_weight * absent
        return LossOutput(
            total=weighted_mean(cost, weight),
            terms={
                name: mean_where(snr_loss[..., 0].detach(), chosen)
                for name, chosen in (("present", present), ("absent", absent))
            },
        )

"""Live separation with causal `queried` separators."""

from __future__ import annotations

from typing import cast

from torch import Tensor

from qsep.queries.interface import QueryEmbedding

from ..networks.composition import CausalBackbone, State
from ..signal.running_level import running_level
from ._live import LiveCore
from .queried import LEVEL_FLOOR, OUTPUTS, Queried


def live(separator: Queried, queries: QueryEmbedding, num_channels: int) -> LiveCore:
    """A recording of num_channels channels for queries, pooled (s, d).

    Raises ValueError for separators that are not causal or take another number of channels.
    """
    if not separator.config.causal:
        raise ValueError("this model looks ahead; only a causal one separates live")
    if not separator.capabilities.streaming:
        raise ValueError("live separation needs an STFT and a backbone that works frame by frame")
    if separator.num_channels not in (None, num_channels):
        raise ValueError(
            f"the recording has {num_channels} channels, this model takes {separator.num_channels}"
        )
    return LiveCore(
        LiveEstimate(separator, queries, num_channels),
        len(queries.pooled),
        num_channels,
        separator.analysis.latency_samples,
        next(separator.parameters()),
    )


class LiveEstimate:
    """See `_live.Estimate`; keeps the running level and the backbone's state."""

    def __init__(self, separator: Queried, queries: QueryEmbedding, num_channels: int) -> None:
        self.separator, self.num_queries = separator, len(queries.pooled)
        self.backbone = cast(CausalBackbone, separator.backbone)
        self.items = num_channels if separator.num_channels is None else 1
        # Batch layout of `Queried.outputs`: each channel is an item, each query a row of it.
        self.queries = queries.map(lambda entry: entry.repeat(self.items, *[1] * (entry.dim() - 1)))
        self.scale = separator.analysis.latency_samples**-0.5
        self.level: tuple[Tensor, Tensor] | None = None
        self.state: State | None = None

    def __call__(self, spec: Tensor) -> Tensor:
        """(c, f, n) to (s, c, f, n)."""
        carrier = spec.unflatten(0, (self.items, -1)) * self.scale
        estimates = self._estimates(carrier)  # (items, s, 2, c, f, n)
        target = estimates[:, :, 0]
        if self.separator.config.consistent:  # the STFT is linear: spectra sum as waveforms do
            target = target + (carrier[:, None] - estimates.sum(dim=2)) / OUTPUTS
        return target.transpose(0, 1).flatten(1, 2) / self.scale

    def _estimates(self, carrier: Tensor) -> Tensor:
        """Mixture spectra (items, c, f, n) to those of outputs (items, s, 2, c, f, n); see `Queried`."""
        separator = self.separator
        power = carrier.abs().square().mean(dim=(1, 2), keepdim=True)
        power, self.level = running_level(power, separator.decay, self.level)
        level = power.sqrt()
        scaled = carrier / (level.square() + LEVEL_FLOOR).sqrt()
        features = separator.analysis.features(scaled)
        if separator.entry.late:
            hidden, self.state = self.backbone.step(features, separator.injector(None), self.state)
            rows = self.queries.map(lambda entry: entry.unflatten(0, (self.items, -1)))
            hidden = separator.entry.fuse(hidden, rows).flatten(0, 1)
        else:
            hidden, self.state = self.backbone.step(
                features.repeat_interleave(self.num_queries, dim=0),
                separator.injector(self.queries),
                self.state,
            )
        return separator.estimates(separator.readout(hidden), scaled) * level[:, None, None]

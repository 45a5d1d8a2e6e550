"""Interfaces of the four parts of a composed separator; `models/queried.py` puts them together.

    waveform (b, c, t) -> Analysis -> carrier (b, c, f, n) and features (b, d, k, n)
    features -> Backbone, conditioned on the query by an Entry -> hidden (b, w, k, n)
    hidden -> the analysis' readout -> maps (b, m, f, n)
    maps and carrier -> Head -> carriers of the outputs -> the analysis' decode -> waveforms

f counts what a head works on (bins, learned filters, or 1 for samples), k what a backbone works on
(bins, bands, or 1). Each part is a file in its folder, with a frozen Config and build(config, ...).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding

# Conditions hidden features on the query: index of the site, features (b, d, ...), to the same shape.
Inject = Callable[[int, Tensor], Tensor]
State = list[Any]  # of a causal backbone, from block to block of a stream: tensors in nested lists


class Analysis(Protocol):
    """channels, num_bands: d and k of the features. hop_samples: step of a frame.

    carrier_channels: c of the carrier, the waveform's channels unless filters mix them.
    latency_samples: an output sample depends on input at most this many samples later. streams: whether
    `models/_queried_live.py` can compute it block by block. direct: whether k = f, so that a backbone can
    make maps itself.
    """

    channels: int
    num_bands: int
    carrier_channels: int
    hop_samples: int
    latency_samples: int
    streams: bool
    direct: bool

    def carrier(self, waveform: Tensor) -> Tensor:
        """(b, c, t) to the representation that heads modify: (b, c, f, n), complex or real."""
        ...

    def features(self, carrier: Tensor) -> Tensor:
        """(b, c, f, n) to real (b, d, k, n)."""
        ...

    def readout(self, width: int, num_maps: int) -> nn.Module:
        """A module (b, width, k, n) to (b, num_maps, f, n)."""
        ...

    def decode(self, carrier: Tensor, num_samples: int) -> Tensor:
        """(b, c, f, n) to (b, c, t), t = num_samples."""
        ...


class Backbone(Protocol):
    """width: channels of its output. sites: channels at each place where a query can condition it.

    complete: its output already has one channel per map, so that no readout follows.
    """

    width: int
    sites: tuple[int, ...]
    complete: bool

    def __call__(self, features: Tensor, inject: Inject) -> Tensor:
        """(b, d, k, n) to (b, width, k, n)."""
        ...


@runtime_checkable
class CausalBackbone(Backbone, Protocol):
    """A backbone whose output never depends on later frames, and which can continue from a state."""

    def step(self, features: Tensor, inject: Inject, state: State | None) -> tuple[Tensor, State]:
        """The next frames, any number of them, to their output and the new state.

        state: what the last call returned, None at the start of a stream.
        """
        ...


class Entry(Protocol):
    """late: whether the query joins after the backbone. If so, the backbone runs once for a mixture and
    `fuse` makes one output for each query; otherwise it runs once for each query, and calls `inject` at
    its sites."""

    late: bool

    def inject(self, site: int, hidden: Tensor, query: QueryEmbedding) -> Tensor:
        """hidden (b, d, ...) and queries (b, ...) to (b, d, ...)."""
        ...

    def fuse(self, hidden: Tensor, query: QueryEmbedding) -> Tensor:
        """hidden (b, d, k, n) and queries (b, s, ...) to (b, s, d, k, n)."""
        ...


class Head(Protocol):
    """num_maps: real maps it needs for each channel of an output."""

    num_maps: int

    def __call__(self, maps: Tensor, carrier: Tensor) -> Tensor:
        """maps (b, o, c, num_maps, f, n), carrier (b, c, f, n) to (b, o, c, f, n)."""
        ...


def no_query(site: int, hidden: Tensor) -> Tensor:
    """An Inject that leaves the features unchanged."""
    return hidden

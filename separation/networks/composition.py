"""What the four parts of a queried separator ask of each other; `models/queried.py` puts them together.

    waveform (b, c, t) -> Analysis -> carrier (b, c, f, n) and features (b, d, k, n)
    features -> Backbone, into which an Entry brings the query at the backbone's sites
    what comes out (b, w, k, n) -> the analysis' readout -> maps (b, m, f, n)
    maps and carrier -> Head -> carriers of the outputs -> the analysis' decode -> waveforms

f counts what a head works on (bins, or learned filters, or 1 for samples), k what a backbone works on
(bins, bands, or 1). A part is a file in its folder, with a frozen Config and build(config, ...).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding

# The query's way in: number of the site, and what is there, (b, d, ...), to the same.
Inject = Callable[[int, Tensor], Tensor]
State = list[Any]  # what a causal backbone carries from block to block: tensors, nested in lists


class Analysis(Protocol):
    """channels, num_bands: d and k of the features. hop_samples: a frame's step.

    latency_samples: how much later than a sample, at most, the last one lies that its estimate needs.
    """

    channels: int
    num_bands: int
    hop_samples: int
    latency_samples: int

    def carrier(self, waveform: Tensor) -> Tensor:
        """(b, c, t) to what heads change: (b, c, f, n), complex or real."""
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
    """width: channels that come out. sites: channels of what the query may change, site by site.

    complete: it ends in maps of its own, so that `width` of them are the head's input as they are.
    """

    width: int
    sites: tuple[int, ...]
    complete: bool

    def __call__(self, features: Tensor, inject: Inject) -> Tensor:
        """(b, d, k, n) to (b, width, k, n)."""
        ...


@runtime_checkable
class CausalBackbone(Backbone, Protocol):
    """One that no frame makes look ahead, and that goes on where it stopped."""

    def step(self, features: Tensor, inject: Inject, state: State | None) -> tuple[Tensor, State]:
        """The next frames, any number of them; state: what the last call returned, None at the start."""
        ...


class Entry(Protocol):
    """late: the backbone runs once a mixture and `fuse` makes of its output one for each query;
    otherwise it runs once a query, and `inject` is called at its sites."""

    late: bool

    def inject(self, site: int, hidden: Tensor, query: QueryEmbedding) -> Tensor:
        """hidden (b, d, ...) and queries (b, ...) to (b, d, ...)."""
        ...

    def fuse(self, hidden: Tensor, query: QueryEmbedding) -> Tensor:
        """hidden (b, d, k, n) and queries (b, s, ...) to (b, s, d, k, n)."""
        ...


class Head(Protocol):
    """num_maps: real maps it takes for each channel of an output."""

    num_maps: int

    def __call__(self, maps: Tensor, carrier: Tensor) -> Tensor:
        """maps (b, o, c, num_maps, f, n), carrier (b, c, f, n) to (b, o, c, f, n)."""
        ...


def no_query(site: int, hidden: Tensor) -> Tensor:
    """An Inject that changes nothing."""
    return hidden

"""Contracts of evaluation: items, sets of items, estimators."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from qsep.queries.interface import Query


@dataclass(frozen=True)
class Item:
    """A mixture and a query about it; all waveforms float32, (t,) if nothing else is said.

    target + rest = mixture up to float32 rounding. target is all zeros if the query names a sound that is
    not in the mixture. label: the group that the item's scores are averaged in. sample_rate: in Hz.
    others: labels of the sounds in rest, empty if the protocol does not know them. setting: the variant of
    the item, for conditions with several. example: a picture or a recording that replaces the query in
    words. target_sources, rest_sources: the sounds of target and rest one by one, for protocols whose
    metrics need them. other_microphones: (m, t), what further microphones hear of the mixture; the others are
    then what the first one hears.
    """

    id: str
    query: str
    label: str
    mixture: NDArray[np.float32]
    target: NDArray[np.float32]
    rest: NDArray[np.float32]
    sample_rate: int
    others: tuple[str, ...] = ()
    setting: str = ""
    example: Query | None = None
    rest_sources: tuple[NDArray[np.float32], ...] = ()
    target_sources: tuple[NDArray[np.float32], ...] = ()
    other_microphones: NDArray[np.float32] | None = None

    @property
    def channels(self) -> NDArray[np.float32]:
        """The mixture at all microphones, the first one first, (1 + m, t); or (t,) at one."""
        if self.other_microphones is None:
            return self.mixture
        return np.concatenate([self.mixture[None], self.other_microphones])


class ItemQuery(NamedTuple):
    """An item's query, label and others; see Item."""

    query: str
    label: str
    others: tuple[str, ...] = ()


Scores = Mapping[str, float | None]
Figures = Mapping[str, float]


def _unchanged(estimator: Estimator) -> Estimator:
    return estimator


@dataclass(frozen=True)
class Publication:
    """How a protocol's publication scores; by default it adds nothing to the scores of every run.

    measure: scores of an item and its estimate (t,), float64, as columns of scores.PUBLISHED or MIXTURE_BSS;
    an undefined score is None. average: the figures that the publication reports, by name, from rows of
    items.csv. set_up: the estimator as the publication uses it. unconfirmed: what of this could not be
    verified, for the summary.
    """

    measure: Callable[[Item, NDArray[np.float64]], Scores] = lambda item, estimate: {}
    average: Callable[[Sequence[Mapping[str, Any]]], Figures] = lambda rows: {}
    set_up: Callable[[Estimator], Estimator] = _unchanged
    unconfirmed: str = ""


NO_PUBLICATION = Publication()


class ItemSet(Protocol):
    """The items of a protocol, rendered one at a time, so that one that cannot be rendered fails alone."""

    @property
    def name(self) -> str:
        """Name of the list of items, for summaries."""
        ...

    @property
    def manifest_sha256(self) -> str:
        """SHA-256 of what lists the mixtures; runs with the same one can be compared item by item."""
        ...

    @property
    def condition(self) -> str:
        """The condition that the items are under, for summaries."""
        ...

    @property
    def fingerprint(self) -> str:
        """Differs whenever an item, its query or the order of items differs."""
        ...

    @property
    def ids(self) -> Sequence[str]:
        """An id for each item, all different."""
        ...

    @property
    def item_queries(self) -> Sequence[ItemQuery]:
        """The query and labels of each item in the order of ids, without rendering it."""
        ...

    @property
    def families(self) -> Mapping[str, tuple[str, ...]]:
        """For each label the families that its scores also count towards; empty if there are none."""
        ...

    @property
    def publication(self) -> Publication:
        """The scores of the protocol's publication, beside those of every run."""
        ...

    def render(self, index: int) -> Item:
        """The item whose id is ids[index]; raises if it cannot be made."""
        ...


class Estimator(Protocol):
    """Estimates an item's target from its mixture and query; oracles use the target as well."""

    @property
    def name(self) -> str:
        """Name in summaries and reports."""
        ...

    @property
    def fingerprint(self) -> str:
        """Differs whenever estimates could differ."""
        ...

    @property
    def model(self) -> TextSeparator | None:
        """The model that separates items by their queries alone; None for other estimators."""
        ...

    def __call__(self, item: Item) -> Any:
        """An array or tensor, (t,), as long as item.mixture."""
        ...


@runtime_checkable
class TextSeparator(Protocol):
    """What evaluation needs of qsep.separation's Model."""

    @property
    def name(self) -> str:
        """Name in summaries and reports."""
        ...

    @property
    def fingerprint(self) -> str:
        """Differs whenever results could differ."""
        ...

    def separate(self, audio: Any, query: Any, /, sample_rate: int | None = None) -> Any:
        """Separate audio (t,), float32; returns an object whose `target` is an array or tensor, (t,)."""
        ...

    def with_masks(self, hard: bool, noise: str) -> Sequence[TextSeparator]:
        """The model with another use of its masks, see qsep.separation.interface.Separator.with_masks."""
        ...

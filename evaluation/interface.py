"""The contract between what is measured and what measures it: items, and what estimates them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from qsep.queries.interface import Query


@dataclass(frozen=True)
class Item:
    """One mixture and one query about it; all waveforms (t,), float32, mono.

    target + rest = mixture up to float32 rounding. target is all zeros where the query names a
    sound that is not in the mixture. label: the group that the item's scores are averaged in.
    others: labels of the sounds in rest, empty where the protocol does not know them.
    setting: which variant of the item it is, where a condition has several.
    example: what a model is asked with in place of the words, as a picture of what sounds.
    rest_sources: the sounds in rest one by one, where the protocol measures them apart.
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


class ItemQuery(NamedTuple):
    """query, label and others of an item, see Item."""

    query: str
    label: str
    others: tuple[str, ...] = ()


class ItemSet(Protocol):
    """What a protocol asks, rendered one item at a time so that a bad item is only itself bad.

    name, manifest_sha256, condition: what the summary calls it.
    fingerprint: differs whenever an item, its query or its order differs.
    asked: what each item will ask, in the order of ids, known without rendering.
    families: of each label, the groups of labels that scores are averaged over besides; empty where
    the protocol knows none.
    """

    @property
    def name(self) -> str: ...
    @property
    def manifest_sha256(self) -> str: ...
    @property
    def condition(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def ids(self) -> Sequence[str]: ...
    @property
    def item_queries(self) -> Sequence[ItemQuery]: ...
    @property
    def families(self) -> Mapping[str, tuple[str, ...]]: ...

    def render(self, index: int) -> Item:
        """The item whose id is ids[index]; raises if it cannot be made."""
        ...


class Estimator(Protocol):
    """Anything that answers an item with an estimate of its target; oracles look at the target."""

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...

    def __call__(self, item: Item) -> Any:
        """An array or tensor, (t,), as long as item.mixture."""
        ...


@runtime_checkable
class TextSeparator(Protocol):
    """What evaluation needs of qsep.separation's Model."""

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...

    def separate(self, audio: Any, query: Any, /, sample_rate: int | None = None) -> Any:
        """audio: (t,), float32. Returns an object whose `target` is an array or tensor, (t,)."""
        ...

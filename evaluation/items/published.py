"""The items of a published protocol, with its authors' metrics and averages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..interface import Item, ItemQuery, Publication


@dataclass(frozen=True)
class PublishedItems:
    """An ItemSet of a published protocol. manifest_sha256: of the lists that define it.

    make: the item of an index. settings: other settings that scores depend on.
    """

    name: str
    manifest_sha256: str
    condition: str
    ids: tuple[str, ...]
    item_queries: tuple[ItemQuery, ...]
    make: Callable[[int], Item]
    publication: Publication
    settings: tuple[str, ...] = ()
    families: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the lists' hash, the condition, ids, queries and settings."""
        content = [self.manifest_sha256, self.condition, self.ids, self.item_queries, self.settings]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def render(self, index: int) -> Item:
        """The item of this index; raises if it cannot be made."""
        return self.make(index)


def item_of_source(
    item_id: str,
    item_query: ItemQuery,
    sources: Sequence[NDArray[np.float32]],
    index: int,
    sample_rate: int,
) -> Item:
    """The item that queries the source of this index; the mixture is the sum of the sources, (t,) each."""
    others = tuple(source for number, source in enumerate(sources) if number != index)
    target, rest = sources[index], np.sum(others, axis=0)
    query, label, labels = item_query
    waveforms = (target + rest, target, rest)
    return Item(
        *(item_id, query, label, *waveforms, sample_rate), others=labels, rest_sources=others
    )


def present(rows: Sequence[Mapping[str, Any]], column: str) -> list[float]:
    """The scores of a column, without those that are None."""
    return [row[column] for row in rows if row[column] is not None]


def mean_of(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> dict[str, float]:
    """Means over items. columns: the column of each figure; figures without scores are left out."""
    values = {figure: present(rows, column) for figure, column in columns.items()}
    return {figure: float(np.mean(scores)) for figure, scores in values.items() if scores}


def mean_of_classes(
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, str],
    within: Callable[[list[float]], Any],
) -> dict[str, float]:
    """Means over labels of each label's average. within: np.mean or np.median, over a label's items."""
    labels = sorted({row["label"] for row in rows})
    figures = {}
    for figure, column in columns.items():
        by_label = [present([r for r in rows if r["label"] == label], column) for label in labels]
        values = [within(scores) for scores in by_label if scores]
        if values:
            figures[figure] = float(np.mean(values))
    return figures


def choose(name: str, value: str, choices: Sequence[str]) -> str:
    """The value of the setting `name`; ValueError if it is not one of the choices."""
    if value not in choices:
        raise ValueError(f"{name}={value!r}; expected one of {', '.join(choices)}")
    return value

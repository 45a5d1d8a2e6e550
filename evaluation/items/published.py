"""The items of a published protocol, with what its authors measure of them and how they average."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..interface import Item, ItemQuery

Scores = Mapping[str, float | None]
Figures = Mapping[str, float]


@dataclass(frozen=True)
class PublishedItems:
    """An ItemSet. manifest_sha256: of the lists that say what it holds.

    make: the item of an index. measure: columns of scores.PUBLISHED for an item and its estimate (t,),
    float64; a score that cannot be had is None. average: the figures that the publication reports, by
    name, from the rows of items.csv. set_up: the model as the publication uses it. settings: what else
    the scores depend on.
    """

    name: str
    manifest_sha256: str
    condition: str
    ids: tuple[str, ...]
    item_queries: tuple[ItemQuery, ...]
    make: Callable[[int], Item]
    measure: Callable[[Item, NDArray[np.float64]], Scores]
    average: Callable[[Sequence[Mapping[str, Any]]], Figures]
    set_up: Callable[[Any], Any] = lambda model: model
    settings: tuple[str, ...] = ()
    families: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        content = [self.manifest_sha256, self.condition, self.ids, self.item_queries, self.settings]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def render(self, index: int) -> Item:
        return self.make(index)


def present(rows: Sequence[Mapping[str, Any]], column: str) -> list[float]:
    """The scores that there are."""
    return [row[column] for row in rows if row[column] is not None]


def mean_of(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> dict[str, float]:
    """Mean over items. columns: from the figure's name to the column; figures without items are left out."""
    values = {figure: present(rows, column) for figure, column in columns.items()}
    return {figure: float(np.mean(found)) for figure, found in values.items() if found}


def mean_of_classes(
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, str],
    within: Callable[[list[float]], Any],
) -> dict[str, float]:
    """Mean over labels of what `within` (np.mean, np.median) makes of each label's items."""
    labels = sorted({row["label"] for row in rows})
    figures = {}
    for figure, column in columns.items():
        of_labels = [present([r for r in rows if r["label"] == label], column) for label in labels]
        values = [within(found) for found in of_labels if found]
        if values:
            figures[figure] = float(np.mean(values))
    return figures


def choose(name: str, value: str, choices: Sequence[str]) -> str:
    """value, if it is one of the choices of the setting."""
    if value not in choices:
        raise ValueError(f"{name}={value!r}; expected one of {', '.join(choices)}")
    return value

"""Models, names of baselines and estimators alike as estimators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..interface import Estimator, Item, TextSeparator
from .ideal_masks import named_estimator


@dataclass(frozen=True)
class ModelEstimator:
    """A model of qsep.separation as an estimator: separates an item's mixture by its query or example."""

    model: TextSeparator

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.name

    @property
    def fingerprint(self) -> str:
        """The model's fingerprint."""
        return self.model.fingerprint

    def __call__(self, item: Item) -> Any:
        """The model's target (t,), at the first microphone if there are several."""
        query = item.example or item.query
        result = self.model.separate(item.channels, query, sample_rate=item.sample_rate)
        return result.target if item.other_microphones is None else result.target[0]


def as_estimator(model: TextSeparator | Estimator | str) -> Estimator:
    """An estimator of a model, or of a name in ideal_masks.ESTIMATORS; estimators are returned unchanged.

    Raises ValueError for an unknown name.
    """
    if isinstance(model, str):
        return named_estimator(model)
    return ModelEstimator(model) if isinstance(model, TextSeparator) else model

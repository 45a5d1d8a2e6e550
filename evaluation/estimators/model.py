"""Whatever may be evaluated, as an estimator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..interface import Estimator, Item, TextSeparator
from .ideal_masks import named_estimator


@dataclass(frozen=True)
class ModelEstimator:
    """A model of qsep.separation asked in words, as an estimator."""

    model: TextSeparator

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def fingerprint(self) -> str:
        return self.model.fingerprint

    def __call__(self, item: Item) -> Any:
        asked = item.example or item.query
        result = self.model.separate(item.mixture, asked, sample_rate=item.sample_rate)
        return result.target


def as_estimator(model: TextSeparator | Estimator | str) -> Estimator:
    """A model is wrapped; "mixture" and the ideal masks go by name; an estimator stays itself."""
    if isinstance(model, str):
        return named_estimator(model)
    return ModelEstimator(model) if isinstance(model, TextSeparator) else model

"""CLIPSep models at test time with hard masks, CLIPSep-NIT's noise masks, or PITSep's better mask.

As in the authors' evaluation (Dong et al. 2023), whose option --pit, on by default, is noise "best" here: an
oracle, since the target decides which mask is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..interface import Estimator, Item, TextSeparator
from .model import ModelEstimator

Score = Callable[[Item, NDArray[np.float64]], float]
# What CLIPSep-NIT's noise masks do at test time. off: nothing, as published. all: joined to the queried
# mask. best: each is tried alone and the one with the best score is taken, which needs the target; of
# PITSep, whose outputs have no order, the first mask or its complement.
NOISE = ("off", "all", "best")


def with_masks(estimator: Estimator, hard: bool, noise: str, score: Score) -> Estimator:
    """The estimator with another use of its model's masks; for noise "best" one that chooses among masks.

    An estimator without a model, and one that the options do not change, is returned as it is. hard: round
    masks to 0 or 1. noise: one of NOISE. score: of an item and its estimate (t,), float64; the highest
    decides what is best. Raises ValueError for options that the model does not have.
    """
    if estimator.model is None:
        return estimator
    models = estimator.model.with_masks(hard, noise)
    if list(models) == [estimator.model]:
        return estimator
    estimators = tuple(ModelEstimator(model) for model in models)
    return BestNoise(estimators, score) if noise == "best" else estimators[0]


@dataclass(frozen=True)
class BestNoise:
    """An estimator: of several models' estimates, the one with the best score. An oracle."""

    estimators: tuple[ModelEstimator, ...]
    score: Score
    model: TextSeparator | None = None  # its estimates depend on the target too

    @property
    def name(self) -> str:
        """The first model's name, which names the options."""
        return self.estimators[0].name

    @property
    def fingerprint(self) -> str:
        """The first model's fingerprint, which names the options."""
        return self.estimators[0].fingerprint

    def __call__(self, item: Item) -> Any:
        """The target (t,) with the best score."""
        targets = [estimator(item) for estimator in self.estimators]
        scores = [self.score(item, np.asarray(target, np.float64)) for target in targets]
        return targets[scores.index(max(scores))]

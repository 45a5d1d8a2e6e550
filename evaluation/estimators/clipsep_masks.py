"""CLIPSep models at test time with hard masks, CLIPSep-NIT's noise masks, or PITSep's better mask.

As in the authors' evaluation (Dong et al. 2023), whose option --pit, on by default, is noise "best" here: an
oracle, since the target decides which mask is used.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsep.separation.api import Model

from ..interface import Item

Score = Callable[[Item, NDArray[np.float64]], float]
# What CLIPSep-NIT's noise masks do at test time. off: nothing, as published. all: joined to the queried
# mask. best: each is tried alone and the one with the best score is taken, which needs the target; of
# PITSep, whose outputs have no order, the first mask or its complement.
NOISE = ("off", "all", "best")


def with_masks(model: Any, hard: bool, noise: str, score: Score) -> Any:
    """The model with other masks; for noise "best" an estimator that chooses among several models.

    model: any estimator; one that is no Model, and a model that the options do not change, is returned
    as it is. hard: round masks to 0 or 1. noise: one of NOISE. score: of an item and its estimate
    (t,), float64; the highest decides what is best. Raises ValueError for options that the model does not
    have.
    """
    if not isinstance(model, Model):
        return model
    separators = model.separator.with_masks(hard, noise)
    if separators == [model.separator]:
        return model
    options = f"{'hard' if hard else 'soft'} masks, noise masks {noise}"
    if noise == "best":
        options += ": an oracle"
    models = []
    for separator in separators:
        changed = copy.copy(model)
        changed.separator = separator
        changed.name = f"{model.name} ({options})"
        changed.fingerprint = f"{model.fingerprint}-{options}"
        models.append(changed)
    return BestNoise(tuple(models), score) if noise == "best" else models[0]


@dataclass(frozen=True)
class BestNoise:
    """An estimator: of several models' estimates, the one with the best score. An oracle."""

    models: tuple[Any, ...]
    score: Score

    @property
    def name(self) -> str:
        """The first model's name."""
        return self.models[0].name

    @property
    def fingerprint(self) -> str:
        """The first model's fingerprint, which names the options."""
        return self.models[0].fingerprint

    def __call__(self, item: Item) -> Any:
        """The target (t,) with the best score."""
        query = item.example or item.query
        targets = [
            model.separate(item.mixture, query, sample_rate=item.sample_rate).target
            for model in self.models
        ]
        scores = [self.score(item, np.asarray(target, np.float64)) for target in targets]
        return targets[scores.index(max(scores))]

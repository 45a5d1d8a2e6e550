"""CLIPSep models with hard masks or CLIPSep-NIT's noise masks at test time (Dong et al. 2023)."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from qsep.separation.api import Model

from ..interface import Item
from ..metrics.sdr import sdr

# What CLIPSep-NIT's noise masks do at test time. off: nothing, as published. all: joined to the queried
# mask. best: each is tried alone and the one with the best SDR is taken, which needs the target.
NOISE = ("off", "all", "best")


def with_masks(model: Any, hard: bool, noise: str, num_scored: int) -> Any:
    """The model with other masks; for noise "best" an estimator that chooses among several models.

    model: any estimator; one that is no Model, and a model that the options do not change, is returned
    as it is. hard: round masks to 0 or 1. noise: one of NOISE. num_scored: the best noise mask is chosen
    by the SDR of so many samples. Raises ValueError for options that the model does not have.
    """
    if not isinstance(model, Model):
        return model
    separators = model.separator.with_masks(hard, noise)
    if separators == [model.separator]:
        return model
    options = f"{'hard' if hard else 'soft'} masks, noise masks {noise}"
    models = []
    for separator in separators:
        changed = copy.copy(model)
        changed.separator = separator
        changed.name = f"{model.name} ({options})"
        changed.fingerprint = f"{model.fingerprint}-{options}"
        models.append(changed)
    return BestNoise(tuple(models), num_scored) if noise == "best" else models[0]


@dataclass(frozen=True)
class BestNoise:
    """An estimator: of several models' estimates, the one with the best SDR. An oracle."""

    models: tuple[Any, ...]
    num_scored: int

    @property
    def name(self) -> str:
        """The first model's name."""
        return self.models[0].name

    @property
    def fingerprint(self) -> str:
        """The first model's fingerprint, which names the options."""
        return self.models[0].fingerprint

    def __call__(self, item: Item) -> Any:
        """The target (t,) with the best SDR."""
        query = item.example or item.query
        targets = [
            model.separate(item.mixture, query, sample_rate=item.sample_rate).target
            for model in self.models
        ]
        clipped = [np.asarray(target)[: self.num_scored].clip(-1, 1) for target in targets]
        scores = [sdr(estimate, item.target[: self.num_scored]) for estimate in clipped]
        return targets[int(torch.stack(scores).argmax())]

"""Models with their masks used otherwise at test than their checkpoint says, as CLIPSep-NIT's are."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from qsep.separation.api import Model

from ..interface import Item
from ..metrics.sdr import sdr

# How noise masks of CLIPSep-NIT are used at test. off: not at all, as published. all: united with the
# queried mask. best: each by itself, and the one nearest to the target is kept, which is an oracle.
NOISE = ("off", "all", "best")


def with_masks(model: Any, hard: bool, noise: str, num_scored: int) -> Any:
    """A model with other masks, or for noise "best" an estimator that chooses among several.

    model: anything that may be evaluated; baselines, which are no Model, are returned as they are, and so
    is a model that these options leave as it is. hard: round masks to 0 and 1. num_scored: how many
    samples of an item the best noise mask is chosen by. Raises ValueError for options that the model
    does not have.
    """
    if not isinstance(model, Model):
        return model
    separators = model.separator.with_masks(hard, noise)
    if separators == [model.separator]:
        return model
    used = f"{'hard' if hard else 'soft'} masks, noise masks {noise}"
    models = []
    for separator in separators:
        changed = copy.copy(model)
        changed.separator = separator
        changed.name, changed.fingerprint = f"{model.name} ({used})", f"{model.fingerprint}-{used}"
        models.append(changed)
    return BestNoise(tuple(models), num_scored) if noise == "best" else models[0]


@dataclass(frozen=True)
class BestNoise:
    """An estimator: the answer of the model among several that has the best SDR."""

    models: tuple[Any, ...]
    num_scored: int

    @property
    def name(self) -> str:
        return self.models[0].name

    @property
    def fingerprint(self) -> str:
        return self.models[0].fingerprint

    def __call__(self, item: Item) -> Any:
        asked = item.example or item.query
        targets = [
            model.separate(item.mixture, asked, sample_rate=item.sample_rate).target
            for model in self.models
        ]
        scored = [np.asarray(target)[: self.num_scored].clip(-1, 1) for target in targets]
        scores = [sdr(answer, item.target[: self.num_scored]) for answer in scored]
        return targets[int(torch.stack(scores).argmax())]

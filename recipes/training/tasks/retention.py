"""Learning new classes without forgetting the old ones, where no sounds of these are at hand.

Li and Hoiem, "Learning without forgetting" (2016): among the old classes alone, the model's posteriors stay
those of the model that it began as, on whatever the new mixtures hold.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from qsep.separation.interface import MixtureBatch
from qsep.separation.signal.spectra import squared_magnitude

from ..config import TrainConfig
from ..initial_weights.class_rows import starting_classes
from ..initial_weights.start import starting_weights
from .interface import Task

SHARE = 4  # one of so many mixtures is compared: it costs two more passes


def retained(task: Task, config: TrainConfig) -> Retention:
    """What holds the task's model to what it knows when it begins."""
    known = starting_classes(config)
    if not known:
        raise ValueError("train.retain_weight: train.start_from names no model of sound classes")
    teacher = copy.deepcopy(task.model)
    task.load(teacher, starting_weights(config, task))
    places = {name: row for row, name in enumerate(teacher.config.classes)}
    rows = torch.tensor([*(places[name] for name in known), len(places)])
    return Retention(teacher, rows, config.retain_weight)


class Retention:
    """teacher: the model as it began, with rows for the new classes too. rows: of the old classes, and of
    "other"; weight: of the divergence in nats, beside the loss in dB."""

    def __init__(self, teacher: Any, rows: Tensor, weight: float) -> None:
        self.teacher = teacher.eval().requires_grad_(False)
        self.rows, self.weight = rows, weight

    def __call__(self, model: Any, batch: MixtureBatch) -> Tensor:
        """Kullback-Leibler divergence of the model's posteriors from the teacher's, mean over bands and
        frames, of every SHARE-th mixture, and zero of the others: (b,)."""
        num = len(batch.mixture)
        chosen = torch.arange(0, num, SHARE, device=batch.mixture.device)
        energy = self.energy(batch.mixture[chosen])
        self.teacher.to(energy.device)
        with torch.no_grad():
            wanted = self.posteriors(self.teacher, energy)
        found = self.posteriors(model, energy)
        divergence = F.kl_div(found, wanted, reduction="none", log_target=True).sum(dim=-1)
        result = divergence.new_zeros(num)
        return result.index_copy(0, chosen, num / len(chosen) * divergence.mean(dim=1))

    def energy(self, mixture: Tensor) -> Tensor:
        with torch.no_grad():
            spec = self.teacher.spectrum(mixture)
            energy: Tensor = self.teacher.gather(squared_magnitude(spec).mean(dim=1))
            return energy

    def posteriors(self, model: Any, energy: Tensor) -> Tensor:
        """Logarithms, of the old classes and "other" among themselves: (b, k n, old + 1)."""
        features, _ = model.features(energy)
        rows = features.flatten(2).mT
        logits: Tensor = model.class_logits(rows).float()[..., self.rows.to(rows.device)]
        return logits.log_softmax(dim=-1)

"""A loss that retains the old classes of a model while it learns new ones, without recordings of the old.

Li and Hoiem, "Learning without forgetting" (2016): on the new mixtures, the posteriors of the old classes are
kept near those of the initial model.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from qsep.separation.interface import MixtureBatch
from qsep.separation.signal.spectra import squared_magnitude

from ..config import TrainConfig
from ..initial_weights.class_rows import starting_classes
from ..initial_weights.start import starting_weights
from .interface import Task

if TYPE_CHECKING:
    from qsep.separation.models.class_unet import ClassUNet

SHARE = 4  # one mixture in four is compared, since it costs two more passes


def retention_of(task: Task, config: TrainConfig) -> Retention:
    """The retention loss of a task with the initial model as teacher.

    Raises ValueError if train.start_from names no model of sound classes.
    """
    old_classes = starting_classes(config)
    if not old_classes:
        raise ValueError("train.retain_weight: train.start_from names no model of sound classes")
    teacher = copy.deepcopy(task.model)
    task.load(teacher, starting_weights(config, task)[0])
    row_of = {name: row for row, name in enumerate(task.class_rows(teacher))}
    rows = torch.tensor([*(row_of[name] for name in old_classes), len(row_of)])
    return Retention(teacher, rows, config.retain_weight)


class Retention:
    """The divergence of a model's posteriors from its teacher's among the old classes.

    teacher: the initial model, with rows for the new classes. rows: the classifier rows of the old classes
    and of "other". weight: of the divergence in nats, relative to the loss in dB.
    """

    def __init__(self, teacher: ClassUNet, rows: Tensor, weight: float) -> None:
        self.teacher = teacher.eval().requires_grad_(False)
        self.rows, self.weight = rows, weight

    def __call__(self, model: ClassUNet, batch: MixtureBatch) -> Tensor:
        """KL divergence (b,) of the model's posteriors from the teacher's, mean over bands and frames.

        Computed for every SHARE-th mixture and scaled up accordingly; zero for the others.
        """
        num = len(batch.mixture)
        chosen = torch.arange(0, num, SHARE, device=batch.mixture.device)
        energy = self.energy(batch.mixture[chosen])
        self.teacher.to(energy.device)
        with torch.no_grad():
            target = self.posteriors(self.teacher, energy)
        posteriors = self.posteriors(model, energy)
        divergence = F.kl_div(posteriors, target, reduction="none", log_target=True).sum(dim=-1)
        result = divergence.new_zeros(num)
        return result.index_copy(0, chosen, num / len(chosen) * divergence.mean(dim=1))

    def energy(self, mixture: Tensor) -> Tensor:
        """Energy in the teacher's bands (b, k, n) of mixtures (b, c, t), mean over channels."""
        with torch.no_grad():
            spec = self.teacher.spectrum(mixture)
            energy: Tensor = self.teacher.gather(squared_magnitude(spec).mean(dim=1))
            return energy

    def posteriors(self, model: ClassUNet, energy: Tensor) -> Tensor:
        """Log-posteriors (b, bins, old + 1) among the old classes and "other", from energies (b, k, n)."""
        features = model.features(energy).classing
        rows = features.flatten(2).mT
        logits: Tensor = model.class_logits(rows).float()[..., self.rows.to(rows.device)]
        return logits.log_softmax(dim=-1)

"""The contract between the training loop and what it trains."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding, QueryEncoder
from qsep.separation.interface import LossOutput, MixtureBatch

from ...data.mixtures.interface import Mixtures
from ..output.examples import Example


@dataclass(frozen=True)
class Discriminator:
    """A network trained to tell the model's output from real data.

    start: the step from which it is trained and its loss counts. loss(network, batch, generator): the
    network's own loss, which does not change the model.
    """

    network: nn.Module
    start: int
    loss: Callable[[Any, MixtureBatch, torch.Generator], LossOutput]


@dataclass(frozen=True)
class Validation:
    """Scores of a model on validation items.

    scores: means, or other statistics, by name. merits: the score by which checkpoints are chosen, more is
    better: one value for each thing that was scored, in an order that depends on the items alone.
    """

    scores: dict[str, float]
    merits: list[float]

    @property
    def merit(self) -> float:
        """The mean of the merits; NaN if nothing was scored."""
        return sum(self.merits) / len(self.merits) if self.merits else math.nan


class Task(Protocol):
    """A part of a model and how it is trained. Tasks name this protocol as their parent.

    part: its table in recipes and checkpoints, as "separator"; kind: its kind there. model: the nn.Module
    that is trained and averaged, with `config` and `sample_rate` in Hz; methods that take a model get this
    one or its average. discriminator: None if there is none.
    """

    part: str
    kind: str
    model: Any
    discriminator: Discriminator | None

    def loss(
        self,
        model: Any,
        batch: MixtureBatch,
        queries: QueryEmbedding,
        generator: torch.Generator,
        discriminator: Any | None,
    ) -> LossOutput:
        """The loss of the model on a batch: total and terms, each (b,).

        queries.pooled: (b, s, d). discriminator: its network, None if there is none or it has not started.
        """
        ...

    def score(
        self, model: Any, encoder: QueryEncoder, data: Mixtures, num_items: int
    ) -> Validation:
        """The model's validation on the first num_items of the data."""
        ...

    def examples(
        self, model: Any, encoder: QueryEncoder, data: Mixtures, num_items: int
    ) -> list[Example]:
        """Examples of the model's output for the first num_items of the data; empty for most tasks."""
        return []

    def weights(self, model: Any) -> dict[str, Tensor]:
        """The model's weights by their names in a checkpoint."""
        ...

    def phrase_book(self, model: Any) -> nn.Module | None:
        """The module of the model that stores the recipe's phrase book; None for most."""
        return None

    def class_rows(self, model: Any) -> tuple[str, ...]:
        """The sound class of each row of the model's classifier except the last, "other"; empty for most."""
        return ()

    def load(self, model: Any, weights: dict[str, Tensor]) -> None:
        """Load weights named as in `weights`; RuntimeError if they do not fit."""
        ...

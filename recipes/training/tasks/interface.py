"""What a recipe trains, as the one training loop sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding, QueryEncoder
from qsep.separation.interface import LossOutput, MixtureBatch

from ...data.mixtures.interface import Mixtures


@dataclass(frozen=True)
class Discriminator:
    """What learns to tell what the model makes from what is real.

    start: the step from which it learns and counts. loss(network, batch, generator): of the network alone;
    the model is not changed by it.
    """

    network: nn.Module
    start: int
    loss: Callable[[Any, MixtureBatch, torch.Generator], LossOutput]


class Task(Protocol):
    """part: its table in recipes and checkpoints, as "separator"; kind: which of them it is.

    model: what is trained and averaged, an nn.Module with its config and sample_rate; where the methods take
    a model, it is this one or its average. discriminator: None where nothing judges it.
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
        """discriminator: the discriminator's network, None before it counts."""
        ...

    def score(
        self, model: Any, encoder: QueryEncoder, data: Mixtures, num_items: int
    ) -> dict[str, float]:
        """What the model is worth on the first items of the validation data, by name."""
        ...

    def weights(self, model: Any) -> dict[str, Tensor]:
        """What its checkpoint holds, by the names there."""
        ...

    def phrase_book(self, model: Any) -> nn.Module | None:
        """The part of the model that holds the recipe's phrase book; most have none."""
        return None

    def load(self, model: Any, weights: dict[str, Tensor]) -> None:
        """Put weights as `weights` gives them in place; RuntimeError where they do not fit."""
        ...

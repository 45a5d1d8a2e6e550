"""To separate: the task of every file in separation/models."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from qsep.queries.cache import CachedEncoder
from qsep.queries.interface import QueryEmbedding, QueryEncoder, SoundEncoder
from qsep.separation.components import build_separator, setting_names
from qsep.separation.interface import LossOutput, MixtureBatch

from ...data.mixtures.constraints import conditioned
from ...data.mixtures.interface import Mixtures
from ...data.wording import PhraseBook
from ..config import Recipe
from .interface import Discriminator, Task
from .phrase_book import restore, teach
from .retention import Retention, retained
from .validation import validate


def build(recipe: Recipe, book: PhraseBook, encoder: QueryEncoder) -> SeparatorTask:
    """One with a reader gets its phrase book here."""
    settings = dict(recipe.model)
    kind = settings.pop("kind")
    known, width = setting_names(kind), {"query_dim": encoder.dim}
    taught = width | {"concepts": list(book.names), "num_phrases": len(book.concepts()[0])}
    if (
        "analysis" in known and "query_dim" not in known
    ):  # a separator of its own, which reads the queries
        settings["analysis"] = settings.get("analysis", {}) | taught
    elif "classes" in known:
        settings["classes"] = list(encoder.config.classes)
    elif "concepts" in known:
        settings |= taught
    elif "query_dim" in known:
        settings |= width
    torch.manual_seed(recipe.train.seed)
    separator = build_separator(kind, settings)
    if separator.phrase_book is not None:
        teach(separator.phrase_book, book, encoder)
    original = encoder.encoder if isinstance(encoder, CachedEncoder) else encoder
    listener = original if isinstance(original, SoundEncoder) else None
    task = SeparatorTask(kind, separator, listener)
    if recipe.train.retain_weight:
        task.retention = retained(task, recipe.train)
    return task


class SeparatorTask(Task):
    """Trains a separator by the loss that it declares."""

    part = "separator"
    discriminator: Discriminator | None = None
    retention: Retention | None = None  # of what a model that goes on from another knows

    def __init__(self, kind: str, model: Any, listener: SoundEncoder | None = None) -> None:
        """listener: what tells what separated sounds sound like, to models that ask."""
        self.kind, self.model, self.listener = kind, model, listener

    def loss(
        self,
        model: Any,
        batch: MixtureBatch,
        queries: QueryEmbedding,
        generator: torch.Generator,
        discriminator: Any,
    ) -> LossOutput:
        model.listener = self.listener  # here, for averages of the model are made without
        told = conditioned(queries, batch, model.capabilities, generator)
        found: LossOutput = model.loss(batch, told, generator)
        if self.retention is None:
            return found
        kept = self.retention(model, batch)
        total = found.total + self.retention.weight * kept
        return LossOutput(total, {**found.terms, "retention": kept.detach()})

    def score(
        self, model: Any, encoder: QueryEncoder, data: Mixtures, num_items: int
    ) -> dict[str, float]:
        return validate(model, encoder, data, num_items)

    def weights(self, model: Any) -> dict[str, Tensor]:
        found: dict[str, Tensor] = model.state_dict()
        return found

    def phrase_book(self, model: Any) -> nn.Module | None:
        book: nn.Module | None = model.phrase_book
        return book

    def load(self, model: Any, weights: dict[str, Tensor]) -> None:
        restore(model, self.phrase_book(model), weights)

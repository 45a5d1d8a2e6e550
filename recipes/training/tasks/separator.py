"""Training of separators, every kind in separation/models."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding, QueryEncoder, SoundEncoder
from qsep.separation.components import QuerySettings, build_separator, with_query_settings
from qsep.separation.interface import LossOutput, MixtureBatch

from ...data.mixtures.constraints import conditioned
from ...data.mixtures.interface import Mixtures
from ...data.wording import PhraseBook
from ..config import Recipe
from ..output.examples import Example, separated_examples
from .interface import Discriminator, Task, Validation
from .phrase_book import restore, store_phrases
from .retention import Retention, retention_of
from .validation import validate


def build(recipe: Recipe, book: PhraseBook, encoder: QueryEncoder) -> SeparatorTask:
    """The task of a recipe: a new separator, with the recipe's phrases if it stores a phrase book.

    Raises ValueError for settings that the separator does not have.
    """
    settings = dict(recipe.model)
    kind = settings.pop("kind")
    known = QuerySettings(
        query_dim=encoder.dim,
        classes=encoder.classes,
        class_names=book.names,
        num_phrases=len(book.indexed_phrases()[0]),
    )
    torch.manual_seed(recipe.train.seed)
    separator = build_separator(kind, with_query_settings(kind, settings, known))
    num_microphones = recipe.effects.array.num_microphones
    if separator.num_channels not in (None, num_microphones):
        raise ValueError(
            f"the separator takes {separator.num_channels} channels and mix.array.num_microphones is "
            f"{num_microphones}: make them equal"
        )
    if separator.phrase_book is not None:
        store_phrases(separator.phrase_book, book, encoder)
    task = SeparatorTask(kind, separator, encoder.sound_encoder)
    if recipe.train.retain_weight:
        task.retention = retention_of(task, recipe.train)
    return task


class SeparatorTask(Task):
    """Trains a separator with its own loss."""

    part = "separator"
    discriminator: Discriminator | None = None
    retention: Retention | None = None  # of the classes of the model that it starts from

    def __init__(self, kind: str, model: Any, sound_encoder: SoundEncoder | None = None) -> None:
        """sound_encoder: the frozen encoder, if it also embeds sound, for losses that embed estimates."""
        self.kind, self.model, self.sound_encoder = kind, model, sound_encoder

    def loss(
        self,
        model: Any,
        batch: MixtureBatch,
        queries: QueryEmbedding,
        generator: torch.Generator,
        discriminator: Any,
    ) -> LossOutput:
        """The separator's loss, plus the retention loss if there is one; see Task.loss."""
        # Set here, so that averages of the model are made without it.
        model.sound_encoder = self.sound_encoder
        constrained = conditioned(queries, batch, model.capabilities, generator)
        output: LossOutput = model.loss(batch, constrained, generator)
        if self.retention is None:
            return output
        divergence = self.retention(model, batch)
        total = output.total + self.retention.weight * divergence
        return LossOutput(total, {**output.terms, "retention": divergence.detach()})

    def score(
        self, model: Any, encoder: QueryEncoder, data: Mixtures, num_items: int
    ) -> Validation:
        """SI-SDR improvement and leakage on the validation mixtures, see `validate`."""
        return validate(model, encoder, data, num_items)

    def examples(
        self, model: Any, encoder: QueryEncoder, data: Mixtures, num_items: int
    ) -> list[Example]:
        """What the separator makes of the validation mixtures, see `separated_examples`."""
        return separated_examples(model, encoder, data, num_items)

    def weights(self, model: Any) -> dict[str, Tensor]:
        """All weights of the separator."""
        state: dict[str, Tensor] = model.state_dict()
        return state

    def phrase_book(self, model: Any) -> nn.Module | None:
        """The module that stores the separator's phrases, if it has one."""
        book: nn.Module | None = model.phrase_book
        return book

    def class_rows(self, model: Any) -> tuple[str, ...]:
        """The separator's classes; those that it knows by a phrase book have no rows."""
        classes: tuple[str, ...] = model.classes if model.phrase_book is None else ()
        return classes

    def load(self, model: Any, weights: dict[str, Tensor]) -> None:
        """Load all weights but those of the phrase book, which keeps its own."""
        restore(model, self.phrase_book(model), weights)

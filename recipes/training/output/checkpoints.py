"""Checkpoint folders of a run: its averaged model with the recipe's query encoder and the model card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from qsep.queries.interface import QueryEncoder
from qsep.separation.storage.checkpoint import carry_encoder, describe, save_checkpoint
from qsep.separation.storage.temporary import temporary_folder

from ..config import Recipe
from ..tasks.interface import Task
from .model_card import model_card, training_recordings


def write_checkpoint(
    folder: Path,
    recipe: Recipe,
    content: dict[str, Any],
    task: Task,
    model: Any,
    encoder: tuple[str, QueryEncoder | None],
    provenance: dict[str, Any],
) -> None:
    """Write a checkpoint folder atomically, replacing an earlier one.

    content: the recipe's tables. model: the task's, or its average. encoder: its kind, and the encoder, None
    without queries. provenance: seed, step and whatever else is known of how the weights came about.
    """
    tables = {table: values for table, values in content.items() if table != "card"}
    kind, query_encoder = encoder
    description = describe(
        task.kind,
        model,
        kind,
        query_encoder,
        {"recipe": recipe.name, "content": tables, **provenance},
        task.part,
    )
    card = model_card(description, recipe, training_recordings(recipe))
    dtype = torch.float16 if recipe.train.half_kernels else torch.float32
    with temporary_folder(folder.parent) as scratch:
        encoder_files = None
        if query_encoder and query_encoder.belongs_to_model:
            encoder_files = carry_encoder(description, query_encoder, scratch)
        save_checkpoint(folder, description, task.weights(model), card, dtype, encoder_files)

"""Checkpoint folders of a run: its averaged model with the recipe's query encoder and the model card."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qsep.queries.interface import QueryEncoder
from qsep.separation.storage.checkpoint import (
    CHECKPOINT,
    carry_encoder,
    describe,
    save_checkpoint,
)
from qsep.separation.storage.config import WEIGHTS
from qsep.separation.storage.results import Results
from qsep.separation.storage.temporary import temporary_folder
from qsep.separation.storage.weights import read_weights

from ..config import Recipe
from ..tasks.interface import Task
from .model_card import model_card, training_recordings

log = logging.getLogger("qsep")

DAMAGED = ".damaged"  # added to the name of a folder that is set aside


def damage_of(folder: Path) -> str | None:
    """The first file of a checkpoint folder that is not as it was written, the weights before others.

    "" if all are, or the folder does not exist; None if it is not known, since the listing is damaged.
    """
    if not folder.is_dir():
        return ""
    results = Results(folder, CHECKPOINT, shared=True)
    if WEIGHTS not in results.entries:
        return None
    names = sorted(results.entries, key=lambda name: name != WEIGHTS)
    return next((name for name in names if not results.is_ours(name)), "")


def write_checkpoint(
    folder: Path,
    recipe: Recipe,
    content: dict[str, Any],
    task: Task,
    model: Any,
    encoder: tuple[str, QueryEncoder | None],
    provenance: dict[str, Any],
    weights: dict[str, Tensor] | None = None,
) -> None:
    """Write a checkpoint folder atomically, replacing an earlier one.

    content: the recipe's tables. model: the task's, or its average. encoder: its kind, and the encoder, None
    without queries. provenance: seed, step and whatever else is known of how the weights came about.
    weights: those to store, by default the model's.
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
    dtype = getattr(torch, recipe.train.kernels)
    with temporary_folder(folder.parent) as scratch:
        encoder_files = None
        if query_encoder and query_encoder.belongs_to_model:
            encoder_files = carry_encoder(description, query_encoder, scratch)
        stored = task.weights(model) if weights is None else weights
        save_checkpoint(folder, description, stored, card, dtype, encoder_files)


def stored_if_whole(folder: Path) -> dict[str, Tensor] | None:
    """The weights of a checkpoint folder of which another file is damaged, to write it again; else None.

    A folder whose weights are damaged is renamed, with a warning. ValueError for a folder that could not be
    replaced later.
    """
    damaged = damage_of(folder)
    if damaged is None:
        Results(folder, CHECKPOINT)
    if not damaged:
        return None
    if damaged != WEIGHTS:
        log.warning("%s is damaged; written again", folder / damaged)
        return {name: value.clone() for name, value in read_weights(folder / WEIGHTS).items()}
    set_aside = folder.with_name(folder.name + DAMAGED)
    while os.path.lexists(set_aside):
        set_aside = set_aside.with_name(set_aside.name + DAMAGED)
    os.replace(folder, set_aside)
    log.warning("%s is damaged; set aside as %s", folder / WEIGHTS, set_aside)
    return None

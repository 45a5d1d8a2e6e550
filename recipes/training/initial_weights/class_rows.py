"""Extending the classifier of a model of sound classes: a row for each class, "other" last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from qsep.queries.files.json_files import json_content

from ..config import TrainConfig, start_folders

ROWS = "class_logits"  # the classifier of separation/models/class_unet.py
# Initial odds of a new class against "other", so that it takes little from the old ones.
NEW_ODDS = 0.05
# A new class sounds about eight times as often in training, where the recipe favours it, as afterwards, and
# old ones hardly do. Its odds are raised by this factor while it is trained, and so are lower without it
# afterwards (Saerens et al., "Adjusting the outputs of a classifier to new a priori probabilities", 2002).
TRAINING_ODDS = 55.0


def starting_classes(config: TrainConfig) -> tuple[str, ...]:
    """The sound classes of the model that a run starts from; empty if there is none or it has no classes."""
    for folder in start_folders(config):
        if classes := classes_of(folder):
            return classes
    return ()


def classes_of(folder: Path) -> tuple[str, ...]:
    """The sound classes of a checkpoint's separator; empty if it has none or cannot be read."""
    try:
        content = json_content(folder / "config.json")
        return tuple(content["separator"]["config"].get("classes") or ())
    except (OSError, ValueError, KeyError, AttributeError):
        return ()


def new_classes(classes: Sequence[str], old: Sequence[str]) -> list[str]:
    """The classes that are not among the old ones; ValueError if there are none."""
    new = [name for name in classes if name not in old]
    if not new:
        raise ValueError(
            "train.new_classes_only: the data have no class that train.start_from lacks"
        )
    return new


def train_new_rows_alone(model: nn.Module, classes: Sequence[str], old: Sequence[str]) -> None:
    """Let gradients reach the classifier rows of the classes that are not among the old ones, and no others.

    The rows' odds are raised by TRAINING_ODDS in this copy of the model, which its averaged weights are not.
    classes: of the model's rows, without "other". Raises ValueError if there are no new ones.
    """
    new = new_classes(classes, old)
    fresh = torch.tensor([name in new for name in classes] + [False])
    model.requires_grad_(False)
    for name in ("weight", "bias"):
        rows = model.get_parameter(f"{ROWS}.{name}")
        mask = fresh.reshape(-1, *[1] * (rows.ndim - 1))
        rows.requires_grad_(True).register_hook(
            lambda gradient, mask=mask: gradient * mask.to(gradient)
        )
    offset = math.log(TRAINING_ODDS) * fresh
    model.get_submodule(ROWS).register_forward_hook(
        lambda module, inputs, logits: logits + offset.to(logits)
    )


def with_class_rows(
    stored: dict[str, Tensor], old: Sequence[str], new: Sequence[str]
) -> dict[str, Tensor]:
    """The weights with a classifier row for each of the new classes, which contain the old ones.

    Old rows are copied; the row of an added class starts as that of "other", with its odds times NEW_ODDS.
    Raises ValueError if an old class is missing from the new ones.
    """
    if missing := [name for name in old if name not in new]:
        raise ValueError(f"train.start_from knows {missing[0]!r}, which the new model would forget")
    row_of = {name: row for row, name in enumerate(old)}
    rows = torch.tensor([row_of.get(name, len(old)) for name in [*new, ""]])
    fresh = torch.tensor([name not in row_of for name in new] + [False])
    result = dict(stored)
    for key in (f"{ROWS}.weight", f"{ROWS}.bias"):
        result[key] = stored[key][rows]
    result[f"{ROWS}.bias"] = result[f"{ROWS}.bias"] + math.log(NEW_ODDS) * fresh
    return result

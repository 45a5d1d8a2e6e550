"""A model of sound classes that goes on with more of them: a row of its classifier for each, "other" last."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..config import TrainConfig, start_folders

ROWS = "class_logits"  # the classifier of separation/models/class_unet.py
NEW_ODDS = (
    0.05  # of a new class against "other" at first: it has to earn what it takes from the old ones
)


def starting_classes(config: TrainConfig) -> tuple[str, ...]:
    """The classes of the model that a run begins with; none where it begins with none, or one without."""
    for folder in start_folders(config):
        if classes := classes_of(folder):
            return classes
    return ()


def classes_of(folder: Path) -> tuple[str, ...]:
    try:
        content = json.loads((folder / "config.json").read_text("utf-8"))
        return tuple(content["separator"]["config"].get("classes") or ())
    except (OSError, ValueError, KeyError, AttributeError):
        return ()


def regrown(stored: dict[str, Tensor], old: Sequence[str], new: Sequence[str]) -> dict[str, Tensor]:
    """The weights with a row for each of the new classes: old rows stay what they are, that of a class which
    is new starts as that of "other", less sure by NEW_ODDS. ValueError where an old class is gone."""
    if gone := [name for name in old if name not in new]:
        raise ValueError(f"train.start_from knows {gone[0]!r}, which the new model would forget")
    places = {name: row for row, name in enumerate(old)}
    rows = torch.tensor([places.get(name, len(old)) for name in [*new, ""]])
    fresh = torch.tensor([name not in places for name in new] + [False])
    result = dict(stored)
    for key in (f"{ROWS}.weight", f"{ROWS}.bias"):
        result[key] = stored[key][rows]
    result[f"{ROWS}.bias"] = result[f"{ROWS}.bias"] + math.log(NEW_ODDS) * fresh
    return result

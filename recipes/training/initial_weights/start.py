"""Weights that a run starts with: its own when it is resumed, or those of checkpoints."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from qsep.queries.files.json_files import json_content
from qsep.separation.storage.results import Results
from qsep.separation.storage.weights import stored_weights

from ..config import TrainConfig, start_folders
from ..output.state import Ema, load_state
from ..tasks.interface import Task
from ..tasks.phrase_book import restore
from .class_rows import starting_classes, with_class_rows
from .released import fitting, released, report

SHARED = ("mel", "vae", "vocoder")  # settings that a codec's weights depend on beyond their shapes


def resume(results: Results, seed: int, task: Task, ema: Ema) -> dict[str, Any] | None:
    """Load the weights of the run in the folder; returns its state, or None if no run has begun.

    Raises ValueError for a run with another seed or of another model.
    """
    out, state = results.folder, load_state(results)
    if state is None:
        return None
    if state["seed"] != seed:
        raise ValueError(f"{out} holds a run with seed {state['seed']}; choose another folder")
    if ("discriminator" in state) != (task.discriminator is not None):
        raise ValueError(f"{out} holds a run of another kind; choose another folder")
    try:
        restore(task.model, task.phrase_book(task.model), state["model"])
        restore(ema.model, task.phrase_book(ema.model), state["ema"])
        if task.discriminator:
            task.discriminator.network.load_state_dict(state["discriminator"])
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(
            f"{out} holds a run of another {in_words(task.part)} ({reason}); choose another folder"
        ) from error
    return state


def start(config: TrainConfig, task: Task, ema: Ema) -> list[str]:
    """Load the weights of train.start_from, or those of train.start_parts, into the model and its average.

    Of several folders the last one that has a weight provides it. Returns lines on what was taken of released
    networks. Raises ValueError for another model's.
    """
    stored, lines = starting_weights(config, task)
    try:
        task.load(task.model, stored)
        task.load(ema.model, stored)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(
            f"train.start_from {joined(start_folders(config))}: another {in_words(task.part)} ({reason})"
        ) from error
    return lines


def starting_weights(config: TrainConfig, task: Task) -> tuple[dict[str, Tensor], list[str]]:
    """The initial weights by the names that the task's checkpoint has, and lines on those of released
    networks; ValueError if parts are missing."""
    folders = start_folders(config)
    stored: dict[str, Tensor] = {}
    lines: list[str] = []
    for folder in folders:
        offer = released(folder) if task.kind == "queried" else None
        if offer is None:
            check_settings(folder, task)
            stored |= stored_weights(folder)
        else:
            fresh = task.weights(task.model)
            taken = fitting(offer, fresh, folder)
            lines += report(offer, taken, fresh, task.model.config, folder)
            stored = fresh | stored | taken
    old, new = starting_classes(config), task.class_rows(task.model)
    if old and new and old != new:
        stored = with_class_rows(stored, old, new)
    if config.start_widened:
        stored = widened(task.weights(task.model), stored)
    if config.start_into:
        stored = {f"{config.start_into}.{key}": value for key, value in stored.items()}
        stored = task.weights(task.model) | stored
    if config.start_parts:
        stored = task.weights(task.model) | parts_of(stored, config.start_parts, task, folders)
    return stored, lines


def widened(fresh: dict[str, Tensor], stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Initial weights of a wider network, `fresh`, that computes at first what `stored` computes.

    Tensors of the same name and rank get the stored values in their first rows and columns; weights from
    added inputs to old outputs are zero, and added outputs keep their initial values. After Chen,
    Goodfellow and Shlens, "Net2Net" (2016).
    """
    result = dict(fresh)
    for key, old in stored.items():
        new = fresh.get(key)
        if new is None or new.dim() != old.dim() or any(map(int.__gt__, old.shape, new.shape)):
            continue
        value = new.detach().clone()
        if new.dim() > 1:
            value[: old.shape[0]] = 0
        value[tuple(map(slice, old.shape))] = old.to(value)
        result[key] = value
    return result


def parts_of(
    stored: dict[str, Tensor], parts: Sequence[str], task: Task, folders: Sequence[Path]
) -> dict[str, Tensor]:
    """The weights of these parts; ValueError if a part, or a weight that the model has in it, is missing."""
    chosen: dict[str, Tensor] = {}
    for part in parts:
        weights = {key: value for key, value in stored.items() if f"{key}.".startswith(f"{part}.")}
        if not weights:
            raise ValueError(f"train.start_parts: {joined(folders)} has no part {part!r}")
        needed = [key for key in task.weights(task.model) if f"{key}.".startswith(f"{part}.")]
        if missing := [key for key in needed if key not in weights]:
            raise ValueError(
                f"train.start_parts: {joined(folders)} lacks {missing[0]} of part {part!r}; "
                "name a checkpoint in train.start_from that has it"
            )
        chosen |= weights
    return chosen


def check_settings(folder: Path, task: Task) -> None:
    """Raise ValueError if a checkpoint's SHARED settings differ: its weights would load, but not work."""
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"train.start_from: {folder} is not a checkpoint folder")
    config = json.loads(json.dumps(dataclasses.asdict(task.model.config)))
    for table in json_content(path).values():
        stored = table.get("config", {}) if isinstance(table, dict) else {}
        for name in SHARED:
            if name in config and name in stored and config[name] != stored[name]:
                raise ValueError(
                    f"train.start_from: {folder} was made with {name} {stored[name]}, not "
                    f"{config[name]}; give [{task.part}.{name}] the same settings"
                )


def joined(folders: Sequence[Path]) -> str:
    """The folders, separated by commas."""
    return ", ".join(map(str, folders))


def in_words(part: str) -> str:
    """The part's name for messages."""
    return part.replace("_", " ")

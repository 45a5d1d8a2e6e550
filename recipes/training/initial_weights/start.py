"""The weights that a run begins with: its own of before, or those of checkpoints."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from qsep.separation.storage.checkpoint import read_weights
from qsep.separation.storage.results import Results

from ..config import TrainConfig, start_folders
from ..output.state import Ema, load_state
from ..tasks.interface import Task
from ..tasks.phrase_book import restore
from .class_rows import regrown, starting_classes

SHARED = ("mel", "vae", "vocoder")  # settings that weights of a codec mean nothing without


def resume(results: Results, seed: int, task: Task, ema: Ema) -> dict[str, Any] | None:
    """Put the weights of the folder's run in place; its state, or None where no run has begun."""
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
            f"{out} holds a run of another {spelt(task.part)} ({reason}); choose another folder"
        ) from error
    return state


def start(config: TrainConfig, task: Task, ema: Ema) -> None:
    """Begin with the weights of checkpoint folders, or with those of some of their parts, as "codec"; of the
    last folder that holds them. ValueError where they are another model's."""
    stored = starting_weights(config, task)
    try:
        task.load(task.model, stored)
        task.load(ema.model, stored)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(
            f"train.start_from {named(start_folders(config))}: another {spelt(task.part)} ({reason})"
        ) from error


def starting_weights(config: TrainConfig, task: Task) -> dict[str, Tensor]:
    """As the task's model loads them."""
    folders = start_folders(config)
    stored: dict[str, Tensor] = {}
    for folder in folders:
        check_settings(folder, task)
        stored |= read_weights(folder / "model.safetensors")
    old, new = starting_classes(config), getattr(task.model.config, "classes", ())
    if old and new and old != tuple(new):
        stored = regrown(stored, old, new)
    if config.start_widened:
        stored = widened(task.weights(task.model), stored)
    if config.start_into:
        stored = {f"{config.start_into}.{key}": value for key, value in stored.items()}
        stored = task.weights(task.model) | stored
    if config.start_parts:
        stored = task.weights(task.model) | parts_of(stored, config.start_parts, task, folders)
    return stored


def widened(fresh: dict[str, Tensor], stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a network as wide as `fresh` or wider that begins by computing what `stored` does.

    Tensors of one name and rank share their first rows and columns; what a kernel's old outputs take from new
    inputs is zero, and new outputs stay as initialised (Chen, Goodfellow and Shlens, "Net2Net", 2016).
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
    """The weights of these parts, all that the model has of each."""
    chosen: dict[str, Tensor] = {}
    for part in parts:
        own = {key: value for key, value in stored.items() if f"{key}.".startswith(f"{part}.")}
        if not own:
            raise ValueError(f"train.start_parts: {named(folders)} has no part {part!r}")
        needed = [key for key in task.weights(task.model) if f"{key}.".startswith(f"{part}.")]
        if lacking := [key for key in needed if key not in own]:
            raise ValueError(
                f"train.start_parts: {named(folders)} lacks {lacking[0]} of part {part!r}; "
                "name a checkpoint in train.start_from that has it"
            )
        chosen |= own
    return chosen


def check_settings(folder: Path, task: Task) -> None:
    """Weights of the same shapes would load, and mean other sounds."""
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"train.start_from: {folder} is not a checkpoint folder")
    ours = json.loads(json.dumps(dataclasses.asdict(task.model.config)))
    for table in json.loads(path.read_text("utf-8")).values():
        theirs = table.get("config", {}) if isinstance(table, dict) else {}
        for name in SHARED:
            if name in ours and name in theirs and ours[name] != theirs[name]:
                raise ValueError(
                    f"train.start_from: {folder} was made with {name} {theirs[name]}, not "
                    f"{ours[name]}; give [{task.part}.{name}] the same settings"
                )


def named(folders: Sequence[Path]) -> str:
    return ", ".join(map(str, folders))


def spelt(part: str) -> str:
    return part.replace("_", " ")

"""A tiny recipe and its material, the state that a run of the training loop leaves, ways to disturb it, and
runs of two processes."""

import json
import multiprocessing
import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from tiny_settings import RATE, SETTINGS
from torch import Tensor

from qsep.recipes.data.mixtures.mix_and_separate import MixAndSeparate
from qsep.recipes.training import loop
from qsep.recipes.training.sampler import step_generator

LABELS = ("hum", "hiss", "beep")
STEPS = 6
BOOK = "\n".join(
    [f'[labels.{label}]\nname = "a {label}"\nphrases = ["{label}", "{label}s"]' for label in LABELS]
    + ['[other]\nphrases = ["silence", "traffic"]']
)


def write_material(folder: Path) -> Path:
    """Two recordings of each label for training and one for validation, and a phrase book."""
    rng = np.random.default_rng(0)
    rows = ["file,label,split"]
    for label in LABELS:
        for index, split in enumerate(("train", "train", "dev")):
            soundfile.write(folder / f"{label}{index}.wav", rng.uniform(-0.5, 0.5, 3000), RATE)
            rows.append(f"{label}{index}.wav,{label},{split}")
    (folder / "clips.csv").write_text("\n".join(rows) + "\n")
    (folder / "book.toml").write_text(BOOK)
    return folder


def tiny_recipe(material: Path, encoder: str) -> dict[str, Any]:
    """The tables of a recipe for `write_material`'s folder. encoder: kind of the query encoder."""
    learned = ("class_names", "num_phrases", "query_dim")
    separator = {k: v for k, v in SETTINGS["band_unet"].items() if k not in learned}
    separator |= {"channels": [4, 6, 8], "blocks": [1, 1, 1]}  # each run saves its weights often
    return {
        "separator": {"kind": "band_unet", **separator, "query_noise": 0.3},
        "encoder": {"kind": encoder},
        "data": {
            "sounds": "recordings",
            "folder": str(material),
            "phrases": str(material / "book.toml"),
            "num_validation": 2,
        },
        "mix": {"segment_samples": 1024, "num_sources_weights": [1.0, 1.0], "num_queries": 4},
        "train": {
            "steps": STEPS,
            "batch_size": 4,
            "learning_rate": 0.01,
            "warmup_steps": 2,
            "decay_steps": 2,
            "ema_decay": 0.9,
            "precision": "32-true",
            "num_workers": 0,
            "log_every": 1,
            "validate_every": 4,
            "save_every": 2,
            "skip_limit": 3,
        },
    }


def state_of(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "training.pt", weights_only=True)


def differences(first: Any, second: Any, path: str = "") -> list[str]:
    """Where two states are not equal bit by bit."""
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        return [d for key in first for d in differences(first[key], second[key], f"{path}/{key}")]
    if isinstance(first, list):
        pairs = enumerate(zip(first, second, strict=True))
        return [d for i, pair in pairs for d in differences(*pair, f"{path}/{i}")]
    same = torch.equal(first, second) if isinstance(first, Tensor) else first == second
    return [] if same else [path]


def entries(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def at_step(step: int, action: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Do something in the middle of a step, when the loop requests its generator."""

    def generator(seed: int, current: int, rank: int) -> torch.Generator:
        if current == step:
            action()
        return step_generator(seed, current, rank)

    monkeypatch.setattr(loop, "step_generator", generator)


def spoil_steps(steps: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The recordings of these steps turn out to be NaN."""
    original = MixAndSeparate.__getitem__

    def item(data: MixAndSeparate, draw: int) -> Any:
        sources, queries, item_id = original(data, draw)
        return (sources * torch.nan if draw // 4 in steps else sources), queries, item_id

    monkeypatch.setattr(MixAndSeparate, "__getitem__", item)


def exit_code_in_child(target: Callable[..., Any], *arguments: Any) -> int | None:
    """Call target(*arguments) in a forked process, for a signal to end instead of this one."""
    return exit_codes([partial(target, *arguments)])[0]


def exit_codes(actions: list[Callable[[], object]]) -> list[int | None]:
    """The exit codes of forked processes that do these things at the same time."""
    children = [multiprocessing.get_context("fork").Process(target=action) for action in actions]
    for child in children:
        child.start()
    for child in children:
        child.join(300)
    return [child.exitcode for child in children]


def as_one_of_two(rank: int, port: int, action: Callable[[], object]) -> Callable[[], None]:
    """The action in the environment that torchrun gives to process `rank` of two on this machine."""
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_PORT")
    environment = dict(zip(names, map(str, (rank, rank, 2, 2, 0, port)), strict=True))

    def act() -> None:
        os.environ |= environment | {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "test"}
        action()

    return act


def in_two_processes(
    action: Callable[[], object], other: Callable[[], object] | None = None
) -> list[int | None]:
    """The exit codes of two processes of one run; `other`: what the second does, by default the same."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return exit_codes([as_one_of_two(0, port, action), as_one_of_two(1, port, other or action)])

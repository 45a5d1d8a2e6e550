"""The log of a run in TensorBoard and in Weights & Biases, with audio and spectrograms of examples."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import torch

from ..config import Recipe
from .examples import Example


class Tracker(Protocol):
    """Receives what a run logs."""

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Keep the values of a step."""
        ...

    def add_examples(self, step: int, examples: Sequence[Example]) -> None:
        """Keep examples after a step, under the same names each time."""
        ...

    def close(self) -> None:
        """Finish writing."""
        ...


class TensorBoard(Tracker):
    """Event files in out/tensorboard by Lightning Fabric; `tensorboard --logdir runs` shows them."""

    def __init__(self, out: Path, content: dict[str, Any], step: int) -> None:
        """step: at which the run continues; later entries of an earlier session are dropped."""
        from lightning_fabric.loggers import TensorBoardLogger

        purge_step = step + 1 if step else None
        self.logger = TensorBoardLogger(out, name="", version="tensorboard", purge_step=purge_step)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """See Tracker."""
        self.logger.log_metrics(dict(values), step)

    def add_examples(self, step: int, examples: Sequence[Example]) -> None:
        """See Tracker."""
        writer = self.logger.experiment
        for number, example in enumerate(examples):
            writer.add_image(f"item {number}", example.picture(), step, dataformats="HWC")
            for name, waveform in example.waveforms.items():
                tensor = torch.from_numpy(waveform).clamp(-1, 1)
                writer.add_audio(f"item {number}/{name}", tensor, step, example.sample_rate)

    def close(self) -> None:
        """See Tracker."""
        self.logger.experiment.close()


class WeightsAndBiases(Tracker):
    """A run of the project "qsep", which a later session of the same folder continues.

    WANDB_PROJECT, WANDB_MODE=offline and the package's other environment variables apply.
    """

    def __init__(self, out: Path, content: dict[str, Any], step: int) -> None:
        """content: the recipe's tables, the run's configuration there. step: as TensorBoard's."""
        self.wandb = imported_wandb()
        self.run = self.wandb.init(
            project=os.environ.get("WANDB_PROJECT", "qsep"),
            name=out.resolve().name,
            id=hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:16],
            resume="allow",
            dir=out,
            config=content,
        )

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """See Tracker. Of a step, only the first session's values are kept there."""
        self.run.log(dict(values), step=step)

    def add_examples(self, step: int, examples: Sequence[Example]) -> None:
        """See Tracker."""
        media: dict[str, Any] = {}
        for number, example in enumerate(examples):
            media[f"item {number}"] = self.wandb.Image(example.picture())
            for name, waveform in example.waveforms.items():
                sound = self.wandb.Audio(waveform, sample_rate=example.sample_rate)
                media[f"item {number} {name}"] = sound
        self.run.log(media, step=step)

    def close(self) -> None:
        """See Tracker."""
        self.run.finish()


def imported_wandb() -> Any:
    """The package of Weights & Biases, which does not report its errors to its makers unless the environment
    says so."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    return wandb


def check_login() -> None:
    """Raise ValueError if Weights & Biases would ask for a key when the run begins."""
    wandb = imported_wandb()
    if wandb.api.api_key is None and wandb.setup().settings.mode == "online":
        raise ValueError(
            "train.loggers: wandb knows no API key: run `wandb login`, or set WANDB_MODE=offline"
        )


KINDS: dict[str, type[TensorBoard] | type[WeightsAndBiases]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
}


def trackers_known(recipe: Recipe) -> str:
    """The trackers of train.loggers; ValueError for unknown ones, missing packages or a missing key."""
    for name in recipe.train.loggers:
        if name not in KINDS:
            raise ValueError(f"train.loggers: {name!r} is not one of {', '.join(KINDS)}")
        if find_spec(name) is None:
            raise ValueError(
                f"train.loggers: {name} needs more packages: pip install 'qsep[{name}]'"
            )
    if "wandb" in recipe.train.loggers:
        check_login()
    return f"logs to {', '.join(recipe.train.loggers)}" if recipe.train.loggers else ""

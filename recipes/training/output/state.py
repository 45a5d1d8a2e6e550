"""State for resuming a run exactly: training.pt, and the previous one as a fallback."""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from qsep.queries.files.weights import refusal
from qsep.separation.storage.results import Results
from qsep.separation.storage.temporary import write_atomically

from ..sharding import here, shard_of, whole

log = logging.getLogger("qsep")

NEWEST, BEFORE = "training.pt", "training.previous.pt"
KEYS = {"step", "seed", "model", "ema", "optimizer"}


class Ema:
    """Exponential moving average of a model's weights; buffers (batch statistics) are copied.

    The decay at a step is min(decay, step / (step + 9)), so that the first steps are soon forgotten.
    model: the averages; if they are divided among devices, only inside `gathered`.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model: Any = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.shards: list[Tensor] = []

    def divide(self, model: nn.Module) -> None:
        """Keep this device's shards alone, if the model's weights are divided among devices."""
        weights = list(model.parameters())
        if any(isinstance(weight, DTensor) for weight in weights):
            averages = list(self.model.parameters())
            self.shards = [shard_of(*pair).clone() for pair in zip(averages, weights, strict=True)]
            self.release()

    def release(self) -> None:
        """Free the memory of the whole averages."""
        for average in self.model.parameters():
            average.data = average.data.new_empty(0)

    @contextlib.contextmanager
    def gathered(self, keep: bool) -> Iterator[None]:
        """A context in which the model holds whole averages. All devices must enter it together.

        keep: whether this device needs them.
        """
        if not self.shards:
            yield
            return
        for average, shard in zip(self.model.parameters(), self.shards, strict=True):
            if (values := whole(shard, keep)) is not None:
                average.data = values.to(average.device)
        yield
        self.release()

    @torch.no_grad()  # averages are not trained
    def update(self, model: nn.Module, step: int) -> None:
        """Include the model's weights after this step, and copy its buffers."""
        decay = min(self.decay, step / (step + 9))
        averages = [here(average) for average in self.shards or self.model.parameters()]
        weights = [here(weight) for weight in model.parameters()]
        torch._foreach_lerp_(averages, weights, 1 - decay)
        for average, buffer in zip(self.model.buffers(), model.buffers(), strict=True):
            average.copy_(buffer)

    def restore_buffers(self, model: nn.Module) -> None:
        """Restore the model's batch statistics after a skipped step, which may have left NaN in them."""
        for average, buffer in zip(self.model.buffers(), model.buffers(), strict=True):
            buffer.copy_(average)


@dataclass(frozen=True)
class Best:
    """The validation with the highest merit so far: its step, -1 if there was none, and its merit."""

    step: int = -1
    merit: float = -math.inf

    @staticmethod
    def of(state: dict[str, Any] | None) -> Best:
        """The one in a run's state; none in states of versions that kept none."""
        return Best(**state["best"]) if state and "best" in state else Best()

    def or_better(self, step: int, merit: float) -> Best:
        """This one, or the validation at `step` if its merit is higher."""
        return Best(step, merit) if merit > self.merit else self


def save_state(results: Results, state: dict[str, Any]) -> None:
    """Write training.pt in the run's folder, atomically; the previous one becomes training.previous.pt."""

    def commit(temporary: Path, path: Path) -> None:
        results.rename(NEWEST, BEFORE)
        results.commit(temporary, path)

    results.claim(NEWEST, BEFORE)
    write_atomically(results.folder / NEWEST, lambda file: torch.save(state, file), commit)


def load_state(results: Results) -> dict[str, Any] | None:
    """The newest state with a valid checksum, None if there is none; ValueError if all are damaged.

    Damaged ones are renamed, also the older one if the newest is valid: it could not be replaced later.
    """
    damaged: list[str] = []
    state: dict[str, Any] | None = None
    for name in (NEWEST, BEFORE):
        path = results.folder / name
        if not path.is_file():
            continue
        try:
            if not results.is_ours(name):
                raise ValueError("its checksum does not match")
            if state is None:
                state = read_state(path)
        except Exception as error:  # damaged files raise errors of many kinds
            known = isinstance(error, ValueError)
            reason = error if known else refusal(path, error)
            instead = "set aside" if state else "trying the previous one"
            log.warning("%s is damaged (%s); %s", path, reason, instead)
            damaged.append(name)
    if damaged and state is None:
        raise ValueError(
            f"{results.folder}: {' and '.join(damaged)} cannot be read; delete to start anew"
        )
    for name in damaged:  # kept for inspection under another name, which the next save needs
        os.replace(results.folder / name, results.folder / f"{name}.damaged")
    return state


def read_state(path: Path) -> dict[str, Any]:
    """The state in a file; ValueError if parts of it are missing, errors of many kinds if it is damaged."""
    state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    if missing := KEYS - state.keys():
        raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    return state

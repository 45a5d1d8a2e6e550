"""Everything a run needs to go on exactly where it was: training.pt, and the one before it."""

from __future__ import annotations

import copy
import logging
import os
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from qsep.separation.checkpoint import write_atomically

log = logging.getLogger("qsep")


class Ema:
    """Exponential moving average of a model's weights; buffers (batch statistics) are copied.

    The average starts as the plain mean over the first steps: decay min(ema_decay, step / (step + 9)).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model: Any = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()  # averages are not trained
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, step / (step + 9))
        averages: list[Tensor] = list(self.model.parameters())
        weights: list[Tensor] = list(model.parameters())
        torch._foreach_lerp_(averages, weights, 1 - decay)
        for average, buffer in zip(self.model.buffers(), model.buffers(), strict=True):
            average.copy_(buffer)

    def restore_buffers(self, model: nn.Module) -> None:
        """Undo what a step that was skipped did to the batch statistics: they may hold NaN."""
        for average, buffer in zip(self.model.buffers(), model.buffers(), strict=True):
            buffer.copy_(average)


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """folder/training.pt, atomically; the last good one stays as training.previous.pt."""
    path = folder / "training.pt"
    if path.exists():
        os.replace(path, folder / "training.previous.pt")
    write_atomically(path, lambda temporary: torch.save(state, temporary))


def load_state(folder: Path) -> dict[str, Any] | None:
    """The newest state that can be read, None when there is none; ValueError if all are damaged."""
    damaged: list[str] = []
    for name in ("training.pt", "training.previous.pt"):
        path = folder / name
        if not path.is_file():
            continue
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
            return state
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            reason = str(error).partition("\n")[0]
            log.warning("%s is damaged (%s); trying the one before", path, reason)
            damaged.append(name)
    if damaged:
        raise ValueError(f"{folder}: {' and '.join(damaged)} cannot be read; delete to start anew")
    return None

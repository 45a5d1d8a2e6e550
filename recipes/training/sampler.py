"""Data order and random numbers of each step: functions of seed, step and rank alone."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Sampler

from ..signals import ENDING


class StepSampler(Sampler[list[int]]):
    """Draw numbers of this rank's share of each step's batch; the whole batch is the same for any world size.

    Raises ValueError for a batch size that the ranks cannot share.
    """

    def __init__(
        self, first_step: int, last_step: int, batch_size: int, rank: int, world: int
    ) -> None:
        if batch_size % world:
            raise ValueError(f"train.batch_size {batch_size} cannot be shared by {world} devices")
        self.first_step, self.last_step, self.batch_size = first_step, last_step, batch_size
        self.rank, self.world = rank, world

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.first_step, self.last_step):
            draws = range(step * self.batch_size, (step + 1) * self.batch_size)
            yield list(draws[self.rank :: self.world])

    def __len__(self) -> int:
        return self.last_step - self.first_step


def step_generator(seed: int, step: int, rank: int) -> torch.Generator:
    """The generator for random numbers inside the model at one step on one rank."""
    entropy = np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(entropy))


def leave_signals_to_parent(worker: int) -> None:
    """Make a data worker ignore signals: schedulers signal every process, but only the parent ends a run."""
    for name in ENDING:
        signal.signal(name, signal.SIG_IGN)

"""Data order and random numbers of each step: functions of seed, step and part of the batch alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Sampler


class StepSampler(Sampler[list[int]]):
    """Draw numbers of this rank's parts of each step's batch, in the order of steps and parts.

    A batch has `accumulate` parts for each rank, equally large. All parts together are the same for any
    world size; part p of P is the same whether P ranks have one each, or fewer ranks several.
    Raises ValueError for a batch size that the ranks cannot share.
    """

    def __init__(
        self,
        first_step: int,
        last_step: int,
        batch_size: int,
        rank: int,
        world: int,
        accumulate: int = 1,
    ) -> None:
        if batch_size % (world * accumulate):
            parts = f" in {accumulate} parts each" if accumulate > 1 else ""
            raise ValueError(
                f"train.batch_size {batch_size} cannot be shared by {world} devices{parts}"
            )
        self.first_step, self.last_step, self.batch_size = first_step, last_step, batch_size
        self.rank, self.world, self.accumulate = rank, world, accumulate

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.first_step, self.last_step):
            draws = range(step * self.batch_size, (step + 1) * self.batch_size)
            for number in range(self.accumulate):
                part = part_number(number, self.rank, self.world)
                yield list(draws[part :: self.world * self.accumulate])

    def __len__(self) -> int:
        return (self.last_step - self.first_step) * self.accumulate


def part_number(number: int, rank: int, world: int) -> int:
    """The index among all parts of a batch of this rank's part `number`."""
    return rank + number * world


def step_generator(seed: int, step: int, part: int) -> torch.Generator:
    """The generator for random numbers inside the model at one step for one part of the batch."""
    entropy = np.random.SeedSequence((seed, step, part)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(entropy))

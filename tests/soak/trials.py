"""Trials that are functions of a seed and their number, and counts of those that passed."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np


class Part(Protocol):
    """One kind of fault. name: also of its module. num_trials: in the full form."""

    name: str
    num_trials: int

    def trial(self, number: int, rng: np.random.Generator) -> str:
        """Inject one fault and return its kind, in a word or two; AssertionError if the trial fails."""
        ...


@dataclass
class Tally:
    """What a part's trials came to: numbers of survived ones by kind, and the failures' texts."""

    part: str
    seed: int
    survived: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def num_tried(self) -> int:
        return self.survived.total() + len(self.failures)

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.survived.items()))
        return (
            f"{self.part}: {self.num_tried} tried, {self.survived.total()} survived, "
            f"{len(self.failures)} not (seed {self.seed}, {self.seconds:.0f} s): {kinds}"
        )


def run_trials(
    part: Part,
    numbers: Iterable[int],
    seed: int,
    say: Callable[[str], object] = print,
    max_seconds: float = float("inf"),
) -> Tally:
    """Run these trials; each failure is printed at once, with the command that repeats it.

    max_seconds: no trial begins after it.
    """
    tally, start = Tally(part.name, seed), time.monotonic()
    for number in numbers:
        if time.monotonic() - start > max_seconds:
            break
        try:
            tally.survived[part.trial(number, generator(part.name, seed, number))] += 1
        except Exception as error:
            is_explained = isinstance(error, AssertionError) and str(error)
            text = str(error) if is_explained else traceback.format_exc()
            tally.failures.append(
                f"{part.name} {number}: {text}\n"
                f"  again: make soak PARTS={part.name} SEED={seed} ONLY={number}"
            )
            say(tally.failures[-1])
    tally.seconds = time.monotonic() - start
    return tally


def generator(part: str, seed: int, number: int) -> np.random.Generator:
    """The random numbers of one trial."""
    return np.random.default_rng([*part.encode(), seed, number])

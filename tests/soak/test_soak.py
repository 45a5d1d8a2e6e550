"""Some trials of each part of tests/soak; `make soak` makes them by the hundred."""

from __future__ import annotations

import importlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import torch

pytest.importorskip("lightning_fabric", reason="training needs pip install qsep[train]")
if sys.platform != "linux":
    pytest.skip("forks, and follows processes by pidfd", allow_module_level=True)

from qsep.recipes.training import loop
from qsep.recipes.training.sampler import StepSampler
from soak.commands import COMMANDS, Workshop
from soak.trials import run_trials

SEED = 15


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("soak") / "workshop")


def survive(workshop: Workshop, name: str, numbers: Sequence[int]) -> None:
    part = importlib.import_module(f"soak.{name}").Part(workshop)
    tally = run_trials(part, numbers, SEED)
    assert not tally.failures, "\n".join(tally.failures)
    assert tally.num_tried == len(numbers)


@pytest.mark.slow
def test_some_faults_of_each_kind_are_survived(workshop: Workshop) -> None:
    survive(workshop, "kills", [0])  # in bulk
    survive(workshop, "full_disk", [6])
    survive(workshop, "damaged_states", [6])
    survive(workshop, "damaged_audio", range(0, 22, 7))
    survive(workshop, "hostile_words", range(2))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("kills", range(1, 6)),
        ("full_disk", range(1, 5)),
        ("damaged_states", range(1, 5)),
        ("damaged_audio", range(22, 34)),
        ("hostile_words", range(2, 7)),
    ],
)
def test_more_faults_are_survived(workshop: Workshop, name: str, numbers: range) -> None:
    survive(workshop, name, numbers)


def seeded_by_the_clock(seed: int, step: int, part: int) -> torch.Generator:
    return torch.Generator().manual_seed(time.time_ns())


def one_step_ahead(sampler: StepSampler) -> Iterator[list[int]]:
    """The draws of a resumed run but for those of its first step: each step has the next one's."""
    ahead = int(0 < sampler.first_step < sampler.last_step)
    first, last = sampler.first_step + ahead, sampler.last_step + ahead
    yield from draws_of(StepSampler(first, last, sampler.batch_size, rank=0, world=1))


draws_of = StepSampler.__iter__


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module_or_class", "name", "fault"),
    [
        (loop, "step_generator", seeded_by_the_clock),
        (StepSampler, "__iter__", one_step_ahead),
    ],
)
def test_a_run_that_goes_on_otherwise_than_an_undisturbed_one_is_noticed(
    workshop: Workshop,
    monkeypatch: pytest.MonkeyPatch,
    module_or_class: object,
    name: str,
    fault: Callable[..., object],
) -> None:
    workshop.undisturbed(COMMANDS["train"])
    monkeypatch.setattr(module_or_class, name, fault)
    numbers = [13, 25, 32]  # of training, killed between its saves
    tally = run_trials(importlib.import_module("soak.kills").Part(workshop), numbers, SEED, str)
    assert len(tally.failures) == len(numbers), tally
    for failure in tally.failures:
        assert "other content: training.pt" in failure, failure


class Unlucky:
    """Every third trial is not survived."""

    name, num_trials = "unlucky", 9

    def trial(self, number: int, rng: np.random.Generator) -> str:
        assert number % 3 != 2, f"drew {rng.integers(1000)}"
        return "even" if number % 2 == 0 else "odd"


def test_trials_are_counted_and_each_failure_says_how_to_repeat_it() -> None:
    said: list[str] = []
    tally = run_trials(Unlucky(), range(9), 4, said.append)
    assert (tally.num_tried, tally.survived) == (9, Counter(even=3, odd=3))
    assert "unlucky: 9 tried, 6 survived, 3 not (seed 4" in str(tally)
    assert [text.splitlines()[-1] for text in said] == [
        f"  again: make soak PARTS=unlucky SEED=4 ONLY={number}" for number in (2, 5, 8)
    ]
    alone: list[str] = []
    run_trials(Unlucky(), [5], 4, alone.append)
    assert alone == [said[1]]

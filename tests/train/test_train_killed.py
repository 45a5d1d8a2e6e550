"""Runs killed at every moment of a save, with a full disk, with workers and with two processes: the continued
run's weights are those of the uninterrupted one, bit by bit."""

import os
import resource
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from training_run import at_step, differences, exit_code_in_child, in_two_processes, state_of

from qsep.recipes.data.mixtures.mix_and_separate import MixAndSeparate
from qsep.recipes.training.output.state import load_state
from qsep.separation.storage.results import Results

pytest.importorskip("lightning_fabric", reason="training needs pip install qsep[train]")
pytestmark = pytest.mark.slow

CHANGING = ("replace", "unlink", "rmdir", "mkdir", "fsync")  # calls of os that change the disk


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def counting_calls(at: int | None, counted: list[str]) -> None:
    """From now on, note calls of CHANGING in `counted`; at call number `at`, kill this process instead."""
    for name in CHANGING:
        original = getattr(os, name)

        def changing(
            *arguments: Any, name: str = name, original: Any = original, **named: Any
        ) -> Any:
            if len(counted) == at:
                die()
            counted.append(name)
            return original(*arguments, **named)

        setattr(os, name, changing)


def killed_in_save(run: Callable[..., Path], folder: Path, at: int | None, count: Path) -> None:
    """In a process of its own: continue the run and count the calls from the save at step 4 on."""
    with pytest.MonkeyPatch.context() as patched:
        counted: list[str] = []
        at_step(3, lambda: counting_calls(at, counted), patched)
        run(folder, stop_after=4)
        with count.open("w") as file:  # not by pathlib, whose calls are counted
            file.write(str(len(counted)))


@pytest.fixture
def half(run: Callable[..., Path], tmp_path: Path) -> Path:
    """The folder of a run that was stopped after its second step."""
    return run(tmp_path / "half", stop_after=2)


@pytest.mark.nightly
def test_a_run_killed_at_any_moment_of_a_save_continues_bit_by_bit(
    run: Callable[..., Path], whole: dict[str, Any], half: Path, tmp_path: Path
) -> None:
    shutil.copytree(half, tmp_path / "counted")
    count = tmp_path / "count"
    assert exit_code_in_child(killed_in_save, run, tmp_path / "counted", None, count) == 0
    number = int(count.read_text())
    assert number > 15  # state, checkpoint and best checkpoint, curves
    steps = set()
    for at in range(number):
        folder = tmp_path / f"killed{at}"
        shutil.copytree(half, folder)
        assert exit_code_in_child(killed_in_save, run, folder, at, count) == -signal.SIGKILL
        state = load_state(Results(folder, "train"))
        assert state is not None
        steps.add(state["step"])
        assert differences(state_of(run(folder)), whole) == []
        assert not list(folder.glob(".qsep-*"))
        assert not list(folder.glob(".*.previous"))
        shutil.rmtree(folder)
    assert steps == {2, 4}  # before and after the new state had its name


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_run_that_fills_the_disk_continues_bit_by_bit(
    run: Callable[..., Path], whole: dict[str, Any], half: Path, share: float
) -> None:
    """No file may grow beyond a share of the state's size, as on a disk without more space."""
    limit = round(share * (half / "training.pt").stat().st_size)

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        run(half)

    assert exit_code_in_child(fill) == 1
    assert state_of(half)["step"] == 2
    assert differences(state_of(run(half)), whole) == []


@pytest.mark.parametrize("step", [3, pytest.param(5, marks=pytest.mark.slow)])
def test_a_run_with_two_workers_killed_in_a_step_continues_bit_by_bit(
    run: Callable[..., Path], whole: dict[str, Any], tmp_path: Path, step: int
) -> None:
    def killed() -> None:
        with pytest.MonkeyPatch.context() as patched:
            at_step(step, die, patched)
            run(tmp_path / "killed", num_workers=2)

    assert exit_code_in_child(killed) == -signal.SIGKILL
    assert differences(state_of(run(tmp_path / "killed", num_workers=2)), whole) == []


@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_two_processes_of_which_one_is_killed_continue_bit_by_bit(
    run: Callable[..., Path], tmp_path: Path, victim: int
) -> None:
    def killed() -> None:
        with pytest.MonkeyPatch.context() as patched:
            at_step(3, die, patched)
            run(tmp_path / "killed", devices=2)

    together = partial(run, tmp_path / "whole", devices=2)
    assert in_two_processes(together) == [0, 0]
    actions: list[Callable[[], object]] = [partial(run, tmp_path / "killed", devices=2)] * 2
    actions[victim] = killed
    codes = in_two_processes(*actions)
    assert codes[victim] == -signal.SIGKILL
    assert codes[1 - victim] == 1  # the other ends by itself
    assert state_of(tmp_path / "killed")["step"] == 2
    assert in_two_processes(partial(run, tmp_path / "killed", devices=2)) == [0, 0]
    assert differences(state_of(tmp_path / "killed"), state_of(tmp_path / "whole")) == []


def test_a_batch_for_which_there_is_no_shared_memory_ends_the_run(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not the worker's attempt to send it alone, after which the run would wait for ever."""

    def full(tensor: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    with pytest.raises(ValueError, match=r"train\.num_workers=2: .* use train\.num_workers=0"):
        run(tmp_path / "run", num_workers=2)


def test_a_run_whose_worker_fails_does_not_wait_for_the_others(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They leave signals to their parent, also the one by which Python ends them at exit."""

    def gone(data: MixAndSeparate, draw: int) -> Any:
        raise ValueError("hum0.wav does not exist")

    monkeypatch.setattr(MixAndSeparate, "__getitem__", gone)
    failing = partial(run, tmp_path / "failed", num_workers=2, data={"num_validation": 0})
    assert exit_code_in_child(failing) == 1

"""Runs that end in time, and the exit codes that tell a scheduler what happened."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from command import Run
from training_run import differences, in_two_processes, state_of

from qsep.recipes.data.mixtures.mix_and_separate import MixAndSeparate
from qsep.recipes.training import loop, stopping
from qsep.recipes.training.stopping import DivergedError, Stop, seconds_of

pytest.importorskip("lightning_fabric", reason="training needs pip install qsep[train]")

ALONE: Any = SimpleNamespace(world_size=1)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("02:50", 10200), ("0:01", 60), ("90", 5400), ("0.5", 30), ("100:00", 36e4)],
)
def test_time_limits_are_hours_and_minutes_or_minutes(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "00:00", "2:5", "1:60", "-5", "2h", "1:00:00", "nan"])
def test_other_time_limits_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected hours:minutes"):
        seconds_of(text)


class Clock:
    """A time that the test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(stopping, "time", SimpleNamespace(monotonic=clock))
    return clock


def test_time_is_kept_for_two_of_the_longest_steps(clock: Clock) -> None:
    stop = Stop(max_seconds=1000)  # 30 of them for what lies outside the steps
    clock.now += 100
    with stop:
        decisions = []
        for seconds in (10, 50, 10, *[100] * 7):
            clock.now += seconds
            decisions.append((clock.now - 1000, stop.due(ALONE)))
    ended = [moment for moment, ends in decisions if ends]
    assert ended[0] == 870  # 770 + 2 * 100 is just in time; 870 + 2 * 100 is later than 970
    assert stop.out_of_time


def test_without_a_limit_time_does_not_end_a_run(clock: Clock) -> None:
    with Stop() as stop:
        clock.now += 1e9
        assert not stop.due(ALONE)


def test_a_run_that_is_out_of_time_is_saved_and_continues_bit_by_bit(
    run: Callable[..., Path], whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The time is asked for at the start, and for each step before its batch and after it.
    moments = iter([0.0, 0.0, *[0.001] * 6, *[3600.0] * 9])
    monkeypatch.setattr(stopping, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    stop = Stop(max_seconds=60)
    run(tmp_path, stop=stop)
    monkeypatch.setattr(stopping, "time", time)
    assert (stop.out_of_time, state_of(tmp_path)["step"]) == (True, 3)
    assert differences(state_of(run(tmp_path)), whole) == []


def test_all_devices_end_when_one_of_them_notes_a_signal(clock: Clock) -> None:
    """all_reduce by max, as of another process that has noted SIGTERM."""

    def with_another(values: Any, reduce_op: str) -> Any:
        assert reduce_op == "max"
        return values.maximum(values.new_tensor([signal.SIGTERM, 0]))

    with Stop() as stop:
        assert stop.due(SimpleNamespace(world_size=2, device="cpu", all_reduce=with_another))
    assert stop.signal == signal.SIGTERM


def test_a_signal_that_comes_while_the_devices_wait_for_each_other_is_not_lost() -> None:
    """It ends all of them after the next step, since the others have their answer already."""

    def interrupted(values: Any, reduce_op: str) -> Any:
        if not stop.signal:
            os.kill(os.getpid(), signal.SIGTERM)
        return values

    two = SimpleNamespace(world_size=2, device="cpu", all_reduce=interrupted)
    with Stop() as stop:
        assert [stop.due(two), stop.signal] == [False, signal.SIGTERM]
        assert stop.due(two)


class Hanging:
    """Batches of which the one after the first does not come before a signal does, if there is a number."""

    def __init__(self, number: int = 0) -> None:
        self.number, self.is_first = number, True

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.is_first:
            self.is_first = False
            return "first"
        if self.number:
            os.kill(os.getpid(), self.number)
        time.sleep(60)
        return "too late"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_waiting_for_a_batch(number: int) -> None:
    with Stop() as stop:
        assert list(stop.waiting_for(Hanging(number), 5, ALONE)) == ["first"]
    assert stop.signal == number


def test_the_time_limit_ends_the_waiting_for_a_batch() -> None:
    with Stop(max_seconds=0.2) as stop:
        assert list(stop.waiting_for(Hanging(), 5, ALONE)) == ["first"]
    assert (stop.out_of_time, stop.signal) == (True, 0)


def test_no_alarm_rings_after_a_signal_has_ended_the_waiting() -> None:
    with Stop(max_seconds=60) as stop:
        assert list(stop.waiting_for(Hanging(signal.SIGTERM), 5, ALONE)) == ["first"]
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert not stop.out_of_time


def test_one_of_several_devices_that_ends_without_its_batch_answers_the_others() -> None:
    """Each asks `due` once for each batch, and never after the last one."""
    answers: list[list[int]] = []

    def together(values: Any, reduce_op: str) -> Any:
        answers.append(values.tolist())
        return values

    two = SimpleNamespace(world_size=2, device="cpu", all_reduce=together)
    with Stop() as stop:
        assert list(stop.waiting_for(Hanging(signal.SIGTERM), 5, two)) == ["first"]
    assert answers == [[signal.SIGTERM, 0]]
    with Stop() as stop:
        for _ in stop.waiting_for(iter(["the last"]), 1, two):
            os.kill(os.getpid(), signal.SIGTERM)
    assert len(answers) == 1


def test_a_signal_during_a_step_is_noted_before_the_next_batch_is_waited_for() -> None:
    with Stop() as stop:
        batches = stop.waiting_for(Hanging(signal.SIGTERM), 5, ALONE)
        assert next(batches) == "first"
        os.kill(os.getpid(), signal.SIGINT)  # raises nothing
        assert list(batches) == []
    assert stop.signal == signal.SIGINT


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_run_whose_data_hang_is_saved_at_one_signal_and_continues_bit_by_bit(
    run: Callable[..., Path],
    whole: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    num_workers: int,
) -> None:
    hung_at = 3 * 4  # the first draw of the fourth step

    class HangingData:
        def __init__(self, data: Any) -> None:
            self.data, self.collate = data, data.collate

        def __getitem__(self, draw: int) -> Any:
            if draw == hung_at:
                os.kill(int(os.environ["TRAINING"]), signal.SIGTERM)
                time.sleep(600)
            return self.data[draw]

    monkeypatch.setenv("TRAINING", str(os.getpid()))
    monkeypatch.setattr(loop, "for_workers", lambda data, recipe: HangingData(data))
    # Seconds for which PyTorch waits for a worker to end before it ends it.
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.5)
    stop = Stop()
    run(tmp_path, stop=stop, num_workers=num_workers, save_every=100)
    monkeypatch.undo()
    assert stop.signal == signal.SIGTERM
    # A worker makes batches ahead of their steps, perhaps before the first is taken.
    assert state_of(tmp_path)["step"] in (range(4) if num_workers else [3])
    assert differences(state_of(run(tmp_path)), whole) == []


def test_two_processes_end_at_a_signal_to_one_that_waits_for_its_data(
    run: Callable[..., Path], tmp_path: Path
) -> None:
    def hanging() -> None:
        item = MixAndSeparate.__getitem__

        def hang(data: MixAndSeparate, draw: int) -> Any:
            if draw >= 3 * 4:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(600)
            return item(data, draw)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(MixAndSeparate, "__getitem__", hang)
            run(tmp_path, devices=2, save_every=100, data={"num_validation": 0})

    whole = partial(run, tmp_path, devices=2, save_every=100, data={"num_validation": 0})
    assert in_two_processes(whole, hanging) == [0, 0]
    assert state_of(tmp_path)["step"] == 3


def test_settings_that_do_not_go_together_are_refused_before_the_run_has_begun(
    run: Callable[..., Path], tmp_path: Path
) -> None:
    stop = Stop()
    with pytest.raises(ValueError, match="batch_size 4 cannot be shared by 1 devices in 3 parts"):
        run(tmp_path, accumulate=3, stop=stop)
    assert not stop.begun


def ends_with(effect: Callable[[Stop], object]) -> Any:
    """A stand-in for the training loop, at work when `effect` happens."""

    def train(*arguments: Any, stop: Stop) -> Path:
        with stop:
            effect(stop)
        return Path("run/model")

    return train


def fail(error: Exception) -> Callable[[Stop], object]:
    def effect(stop: Stop) -> None:
        raise error

    return effect


@pytest.mark.parametrize(
    ("effect", "code", "says"),
    [
        (lambda stop: None, 0, ""),
        (
            lambda stop: setattr(stop, "out_of_time", True),
            75,
            "out of time and saved; run the same",
        ),
        (lambda stop: os.kill(os.getpid(), signal.SIGTERM), 143, "stopped and saved; run the same"),
        (lambda stop: os.kill(os.getpid(), signal.SIGINT), 130, "stopped and saved; run the same"),
        (fail(DivergedError("not finite")), 3, "error: not finite"),
        (
            fail(OSError(28, "No space left on device", "training.pt")),
            1,
            "error: training.pt: No sp",
        ),
        (
            fail(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")),
            1,
            "error: out of memory: train a batch in parts",
        ),
    ],
)
def test_exit_codes_tell_how_a_run_ended(
    qsep: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, effect: Any, code: int, says: str
) -> None:
    monkeypatch.setattr(loop, "train", ends_with(effect))
    outcome = qsep("train", "smoke", "-o", "run")
    assert outcome.code == code
    assert outcome.err.removeprefix("qsep: ")[: len(says)] == says


@pytest.mark.parametrize(
    "words", [("smoke", "--max-time", "soon"), ("smoke", "train.stepz=3"), ("no-such-recipe",)]
)
def test_bad_input_has_exit_code_2(qsep: Run, folder: Path, words: tuple[str, ...]) -> None:
    assert qsep("train", *words, "-o", "run").code == 2
    assert not (folder / "run").exists()

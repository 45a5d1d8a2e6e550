"""Ending a run early, at a signal or a time limit, and the exit codes that report it."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, Self, TypeVar

import torch

from ..signals import ENDING

Batch = TypeVar("Batch")

FAILED, DIVERGED, OUT_OF_TIME = 1, 3, 75  # exit codes; 75 is EX_TEMPFAIL of sysexits.h: try again
ALARM = getattr(signal, "SIGALRM", None)
MAX_SLACK_SECONDS = 30.0
MAX_SLACK_SHARE = 0.05


class WaitEndedError(BaseException):
    """A signal or the time limit came while the next batch was waited for."""


class DivergedError(ValueError):
    """The loss was not finite for too many steps in a row."""


def seconds_of(text: str) -> float:
    """Seconds of a time limit in minutes, or in hours:minutes as 02:50; ValueError for anything else."""
    if match := re.fullmatch(r"(\d+):([0-5]\d)", text):
        seconds = 60.0 * (60 * int(match[1]) + int(match[2]))
    elif re.fullmatch(r"\d+(\.\d+)?", text):
        seconds = 60.0 * float(text)
    else:
        seconds = 0.0
    if not seconds:
        raise ValueError(f"--max-time {text!r}: expected hours:minutes, as 02:50, or minutes")
    return seconds


class Stop:
    """Tells a run when to end after a step. A context: inside, SIGINT, SIGTERM and SIGHUP are noted.

    The first signal ends the run after its step, or the waiting for its batch; after it and at the context's
    end, signals do what they did before. With max_seconds, counted from the construction, the run ends while
    there is still time to save: the longest step so far, with what was validated and saved after it, is
    expected twice more, or once while a batch is waited for. An alarm ends the waiting, which Windows lacks.

    signal: the number of the signal, 0 if none came or the run reached its last step. out_of_time: whether
    the time ended the run. begun: whether the context was entered.
    """

    def __init__(self, max_seconds: float | None = None) -> None:
        self.signal, self.out_of_time, self.begun = 0, False, False
        self.deadline: float | None = None
        if max_seconds is not None:
            slack = min(MAX_SLACK_SECONDS, MAX_SLACK_SHARE * max_seconds)
            self.deadline = time.monotonic() + max_seconds - slack
        self.is_waiting = False
        self.step_began = 0.0
        self.longest_step = 0.0
        self.handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self.begun = True
        self.step_began = time.monotonic()
        self.handlers = {number: signal.signal(number, self) for number in ENDING}
        if ALARM is not None and self.deadline is not None:
            self.handlers[ALARM] = signal.signal(ALARM, self.ring)
        return self

    def __exit__(self, *_: object) -> None:
        self.restore_handlers()

    def restore_handlers(self) -> None:
        """Restore the signal handlers of before."""
        self.set_alarm(0)
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        self.handlers = {}

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Note the signal, and end the waiting for a batch."""
        self.signal = number
        self.restore_handlers()
        self.end_waiting()

    def ring(self, number: int, frame: FrameType | None) -> None:
        """Note that time is up, and end the waiting for a batch."""
        if self.is_waiting:
            self.out_of_time = True
            self.end_waiting()

    def end_waiting(self) -> None:
        """Raise WaitEndedError if a batch is waited for."""
        if self.is_waiting:
            self.is_waiting = False
            raise WaitEndedError

    def waiting_for(
        self, batches: Iterator[Batch], num_batches: int, fabric: Any
    ) -> Iterator[Batch]:
        """The next num_batches batches, until a signal or the time limit comes while one is waited for.

        Each of several devices asks `due` once for each batch; so does one that ends without its batch, else
        the others would wait for its answer.
        """
        for _ in range(num_batches):
            batch = self.next_of(batches)
            if batch is None:
                if fabric.world_size > 1:
                    self.due(fabric)
                return
            yield batch

    def next_of(self, batches: Iterator[Batch]) -> Batch | None:
        """The next batch, or None if a signal or the time limit comes before it."""
        try:
            self.is_waiting = True
            if self.signal:
                return None
            if self.deadline is not None:
                seconds = self.deadline - self.longest_step - time.monotonic()
                self.set_alarm(max(seconds, 1e-3))  # 0 would mean never
            return next(batches, None)
        except WaitEndedError:
            return None
        finally:
            self.is_waiting = False
            self.set_alarm(0)

    def set_alarm(self, seconds: float) -> None:
        """Let the alarm ring in so many seconds, never with 0; nothing if there is no handler for it."""
        if ALARM in self.handlers:
            signal.setitimer(signal.ITIMER_REAL, seconds)

    def due(self, fabric: Any) -> bool:
        """Whether to end now, asked between steps; the same on all devices of the Lightning Fabric."""
        now = time.monotonic()
        self.longest_step = max(self.longest_step, now - self.step_began)
        self.step_began = now
        if self.deadline is not None and now + 2 * self.longest_step > self.deadline:
            self.out_of_time = True
        if fabric.world_size == 1:
            return bool(self.signal) or self.out_of_time
        # A signal reaches the processes at different moments, or only one of them. One that comes while the
        # others are waited for here stays noted for the next time.
        noted = torch.tensor([self.signal, int(self.out_of_time)], device=fabric.device)
        number, late = fabric.all_reduce(noted, reduce_op="max").tolist()
        if number:
            self.signal = int(number)
        if late:
            self.out_of_time = True
        return bool(number or late)

    def finished(self) -> None:
        """Forget signals and time: the run has reached its last step."""
        self.signal, self.out_of_time = 0, False

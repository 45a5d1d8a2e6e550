"""Items in parallel threads, and a progress line."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing

import torch

from qsep.queries.files.threads import in_order

from .scores import Row


def in_parallel(
    work: Callable[[int], Row], indices: Sequence[int], workers: int
) -> Generator[tuple[int, Row | Exception], None, None]:
    """Pairs (index, work(index) or the exception it raised), in the order of indices.

    workers: number of threads. Torch and the codecs release the GIL, so threads suffice and share one
    model. Each thread uses one torch thread, for floating-point sums depend on the number of torch threads
    and scores must not depend on `workers`.
    """

    def attempt(index: int) -> Row | Exception:
        try:
            return work(index)
        except Exception as error:
            return error

    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # new threads inherit it
    try:
        with closing(in_order(attempt, indices, workers)) as outcomes:
            yield from outcomes
    finally:
        torch.set_num_threads(num_threads)


class Progress:
    """A progress line on standard error: items done, failed ones, time left. Only if it is a terminal.

    num_resumed: how many of the items an earlier run has scored.
    """

    def __init__(self, num_items: int, num_resumed: int) -> None:
        self.num_items, self.num_resumed, self.num_done = num_items, num_resumed, num_resumed
        self.start, self.visible = time.monotonic(), sys.stderr.isatty()

    def __call__(self, num_failed: int) -> None:
        """Count one more item and show the line."""
        self.num_done += 1
        seconds_each = (time.monotonic() - self.start) / (self.num_done - self.num_resumed)
        failed = f", {num_failed} failed" if num_failed else ""
        if self.visible:
            seconds_left = seconds_each * (self.num_items - self.num_done)
            line = f"{self.num_done}/{self.num_items} items{failed}, {seconds_left:.0f} s left"
            print(f"\r{line}\033[K", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self.visible and self.num_done:
            print(file=sys.stderr)

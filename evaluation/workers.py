"""Many items at a time, and a line that says how far they are."""

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
    """(index, work(index) or what it raised), in the order of indices, from that many threads.

    Torch and the codecs work outside Python's lock, so threads suffice and share one model. Each has
    one torch thread: sums of floats depend on how many share them, and must not on `workers`.
    """

    def attempt(index: int) -> Row | Exception:
        try:
            return work(index)
        except Exception as error:
            return error

    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # new threads take it over
    try:
        with closing(in_order(attempt, indices, workers)) as outcomes:
            yield from outcomes
    finally:
        torch.set_num_threads(num_threads)


class Progress:
    """A line on a terminal: items done, the failed among them, time left. Elsewhere nothing."""

    def __init__(self, num_items: int, num_kept: int) -> None:
        self.num_items, self.num_kept, self.num_done = num_items, num_kept, num_kept
        self.start, self.visible = time.monotonic(), sys.stderr.isatty()

    def __call__(self, num_failed: int) -> None:
        self.num_done += 1
        each = (time.monotonic() - self.start) / (self.num_done - self.num_kept)
        failed = f", {num_failed} failed" if num_failed else ""
        if self.visible:
            left = f"{each * (self.num_items - self.num_done):.0f} s left"
            line = f"{self.num_done}/{self.num_items} items{failed}, {left}"
            print(f"\r{line}\033[K", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self.visible and self.num_done:
            print(file=sys.stderr)

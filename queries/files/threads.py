"""Ordered parallel work in threads that stops soon after a failure or an interruption."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 4  # items in progress or waiting, for each thread


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], num_jobs: int
) -> Generator[tuple[Item, Result], None, None]:
    """Yield (item, work(item)) in the order of `items`, computed by num_jobs threads.

    An exception of `work` is raised in its item's turn. Then, or when the generator is closed, no further
    item is started. At most AHEAD * num_jobs items are taken from `items` in advance.
    """
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    with ThreadPoolExecutor(num_jobs) as pool:
        try:
            for item in items:
                if len(waiting) == AHEAD * num_jobs:
                    first, future = waiting.popleft()
                    yield first, future.result()
                waiting.append((item, pool.submit(work, item)))
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

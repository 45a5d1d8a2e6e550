"""Work on many items in threads that a failure or an interruption stops at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 4  # items begun or waiting, for each thread


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], num_jobs: int
) -> Generator[tuple[Item, Result], None, None]:
    """(item, work(item)) in the order of `items`, from that many threads.

    What `work` raises is raised in its item's turn. Then, or when the caller closes this, nothing more
    is begun, and it ends with the items under way; at most AHEAD * num_jobs are handed out at a time.
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

"""Items in their order, from threads that end when their caller does."""

from contextlib import closing
from threading import Event

import pytest

from qsep.queries.files.threads import AHEAD, in_order


def test_results_come_in_the_order_of_the_inputs() -> None:
    second_done = Event()

    def work(number: int) -> int:
        if number == 0:
            assert second_done.wait(10)
        elif number == 1:
            second_done.set()
        return number**2

    assert list(in_order(work, range(30), num_jobs=3)) == [(n, n * n) for n in range(30)]


def test_after_a_failure_no_task_is_started() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 5:
            raise OSError("no space left")
        return number

    started = []
    with pytest.raises(OSError, match="no space left"):
        for number, _ in in_order(work, range(1000), num_jobs=2):
            started.append(number)
    assert started == [0, 1, 2, 3, 4]
    assert max(begun) < 5 + 2 * AHEAD + 1


def test_closing_waits_for_running_tasks_and_starts_no_more() -> None:
    begun: list[int] = []
    ended: list[int] = []
    stopping = Event()

    def work(number: int) -> int:
        begun.append(number)
        if number:
            stopping.wait(10)
        ended.append(number)
        return number

    with pytest.raises(KeyboardInterrupt), closing(in_order(work, range(1000), 2)) as results:
        for _ in results:
            stopping.set()
            raise KeyboardInterrupt
    assert sorted(begun) == sorted(ended)
    assert len(begun) <= 1 + 2 * AHEAD

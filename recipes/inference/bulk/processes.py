"""Bulk work in several processes on this machine, each with its own model."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from ...errors import one_line, show_warnings
from ...signals import ENDING
from .jobs import Job
from .manifest import Row
from .work import Runner, Work, failed

logger = logging.getLogger("qsep")

TRIES = 2  # of a recording whose process died


class Worker:
    """A process that takes one job at a time, and ends when its parent does."""

    def __init__(self, work: Work, num_threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, child_end = context.Pipe()
        self.process = context.Process(
            target=serve, args=(child_end, work, num_threads, logger.level), daemon=True
        )
        self.process.start()
        child_end.close()  # so that reading fails once the process has ended
        self.job: Job | None = None

    def give(self, job: Job) -> None:
        """Send it a job; if the process has died, `answer_of` will tell."""
        self.job = job
        try:
            self.connection.send(job)
        except OSError:
            pass

    def end(self) -> None:
        """Kill the process; its job is not done."""
        self.process.kill()
        self.process.join()
        self.connection.close()


def serve(connection: Connection, work: Work, num_threads: int, log_level: int) -> None:
    """Main function of a worker's process: load the model, then do jobs from the connection.

    log_level: of warnings, that of the parent.
    """
    show_warnings()
    logger.setLevel(log_level)
    for number in ENDING:  # a terminal signals all processes; only the parent reacts
        signal.signal(number, signal.SIG_IGN)
    try:
        run = work.start()
        if "torch" in sys.modules:  # only if the work uses it
            sys.modules["torch"].set_num_threads(num_threads)
    except Exception as error:
        connection.send(one_line(error))
        return
    try:
        while True:
            connection.send(run(connection.recv()))
    except (EOFError, OSError):  # the parent has ended
        return


def in_processes(
    work: Work, jobs: Sequence[Job], num_workers: int
) -> Iterator[tuple[Job, list[Row]]]:
    """Each job with its rows, in order of completion; a job whose process dies is tried once more.

    Raises ValueError if a worker cannot start.
    """
    num_threads = max(1, (os.cpu_count() or 1) // num_workers)
    waiting: deque[Job] = deque(jobs)
    tries: dict[Job, int] = {}
    workers = [Worker(work, num_threads) for _ in range(min(num_workers, len(jobs)))]
    try:
        for worker in workers:
            if waiting:
                worker.give(waiting.popleft())
        while busy := {worker.connection: worker for worker in workers if worker.job}:
            ready = wait(list(busy))
            for worker in [worker for connection, worker in busy.items() if connection in ready]:
                job = worker.job
                assert job is not None
                answer = answer_of(worker)
                if isinstance(answer, str):
                    raise ValueError(answer)
                if answer is None:
                    code = worker.process.exitcode
                    worker.end()
                    workers[workers.index(worker)] = worker = Worker(work, num_threads)
                    tries[job] = tries.get(job, 1) + 1
                    if tries[job] <= TRIES:
                        worker.give(job)
                        continue
                    answer = failed(job, work.queries_of(job), died(code))
                worker.job = None
                if waiting:
                    worker.give(waiting.popleft())
                yield job, answer
    finally:
        for worker in workers:
            worker.end()


def answer_of(worker: Worker) -> Any:
    """The rows of the worker's job, a message if it could not start, or None if it died."""
    try:
        return worker.connection.recv()
    except (EOFError, OSError):
        worker.process.join()
        return None


def died(code: int | None) -> str:
    """The error of a recording whose process ended with this exit code."""
    ending = f"by signal {-code}" if code is not None and code < 0 else f"with code {code}"
    return f"the process that worked on it ended {ending}, {TRIES} times: try fewer --workers"


def in_this_process(jobs: Iterable[Job], run: Runner) -> Iterator[tuple[Job, list[Row]]]:
    """Each job with its rows, one after the other."""
    for job in jobs:
        yield job, run(job)

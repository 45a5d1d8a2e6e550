"""What a bulk run does with one recording, on whichever process or machine."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from ...cli.errors import one_line, show_traceback
from .jobs import Job
from .manifest import Row, sha256_of, state_of

Runner = Callable[[Job], list[Row]]


class Work(Protocol):
    """Can be pickled, so that other processes and machines are handed it; loads nothing before `start`."""

    @property
    def together(self) -> bool:
        """Whether what is asked of a recording must be done at once, all or nothing."""
        ...

    def files_of(self, job: Job, query: str) -> list[str]:
        """Names, relative to the run's folder, of the results that are known before the work is done."""
        ...

    def queries_of(self, job: Job) -> Sequence[str]:
        """The names of what is asked of a recording, each a row of the manifest; "" where nothing is."""
        ...

    def start(self) -> Runner:
        """Load the model, and return what separates one recording after the other into rows.

        Whatever goes wrong with a recording is in its rows; ValueError for what no recording can be done
        with."""
        ...


def digest_of(settings: Any) -> str:
    """Of all that decides the results, as plain values for JSON."""
    text = json.dumps(settings, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def attempt(
    job: Job, queries: Sequence[str], settings: str, separate: Callable[[Path], list[Row]]
) -> list[Row]:
    """The rows of `separate` with what all rows have, or of each query what went wrong."""
    path, start = Path(job.path), time.perf_counter()
    common: Row = {"input": job.path, "key": job.key, "folder": job.folder, "settings": settings}
    try:
        # Before it is read: a recording that changes meanwhile will count as changed.
        (num_bytes, modified), sha256 = state_of(path), sha256_of(path)
        rows = separate(path)
    except Exception as error:  # whatever is wrong with one recording, the others go on
        show_traceback(error)
        return failed(job, queries, one_line(error))
    common |= {"bytes": num_bytes, "modified": modified, "sha256": sha256}
    common |= {"took": round(time.perf_counter() - start, 3), "error": None}
    return [common | row for row in rows]


def failed(job: Job, queries: Sequence[str], error: str) -> list[Row]:
    """Of each query a row that says why there is no result."""
    return [
        {"input": job.path, "key": job.key, "query": query or None, "error": error}
        for query in queries
    ]

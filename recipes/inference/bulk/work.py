"""The work of a bulk run on one recording, in any process or on any machine."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from qsep.separation.audio.reader import check_file
from qsep.separation.storage.results import sha256_of

from ...errors import one_line, show_traceback
from ..output import Output
from .jobs import Job
from .manifest import Row, state_of

if TYPE_CHECKING:
    from qsep.separation.api import Model

Runner = Callable[[Job], list[Row]]
Loaded = TypeVar("Loaded")


class Work(Protocol):
    """What is done with each recording.

    Picklable, to be sent to other processes and machines; loads nothing before `start`.
    """

    @property
    def together(self) -> bool:
        """Whether all queries of a recording have to be done together."""
        ...

    def files_of(self, job: Job, query: str) -> list[str]:
        """The result files that are known before the work is done, relative to the run's folder."""
        ...

    def queries_of(self, job: Job) -> Sequence[str]:
        """The names of a recording's queries, one for each row of the manifest; "" if there is no query."""
        ...

    def start(self) -> Runner:
        """Load the model, and return a function from a job to its rows.

        An error of a recording is in its rows. Raises ValueError if no recording can be done.
        """
        ...


class ModelWork(Work, Protocol[Loaded]):
    """Work of a command with a model. command: its name. Loaded: what it loads, the model or more."""

    command: ClassVar[str]

    @property
    def output(self) -> Output:
        """How results are named and reported."""
        ...

    def load(self) -> Loaded:
        """What `runner` needs."""
        ...

    def model_of(self, loaded: Loaded) -> Model:
        """The model in it."""
        ...

    def settings(self, loaded: Loaded) -> str:
        """A digest of all that the results depend on, except the recording and the words."""
        ...

    def runner(self, loaded: Loaded) -> Runner:
        """As `start`, with what is loaded already."""
        ...

    def about(self) -> Row:
        """Facts about the run for its manifest."""
        ...

    def show(self, row: Row) -> None:
        """Print the row of a result."""
        ...


def digest_of(settings: list[Any], changed: Row) -> str:
    """A digest of settings, plain values that JSON can store.

    changed: options that differ from their defaults. Without any, the digest is that of versions that did not
    have them, whose runs can be continued.
    """
    text = json.dumps(settings + [changed] * bool(changed), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def attempt(
    job: Job, queries: Sequence[str], settings: str, separate: Callable[[Path], list[Row]]
) -> list[Row]:
    """The rows of `separate` with the columns common to all rows, or for each query a row with the error."""
    path, start = Path(job.path), time.perf_counter()
    common: Row = {"input": job.path, "key": job.key, "folder": job.folder, "settings": settings}
    try:
        check_file(path)  # a pipe, among others, would never end
        # Before reading it: a recording that changes meanwhile then counts as changed.
        (num_bytes, modified), sha256 = state_of(path), sha256_of(path)
        rows = separate(path)
    except Exception as error:  # any error: one bad recording must not stop the others
        show_traceback(error)
        return failed(job, queries, one_line(error))
    common |= {"bytes": num_bytes, "modified": modified, "sha256": sha256}
    common |= {"took": round(time.perf_counter() - start, 3), "error": None}
    return [common | row for row in rows]


def failed(job: Job, queries: Sequence[str], error: str) -> list[Row]:
    """For each query a row with the error."""
    return [
        {"input": job.path, "key": job.key, "query": query or None, "error": error}
        for query in queries
    ]

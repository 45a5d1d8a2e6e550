"""Bulk work on several machines by Ray Data: a pool of actors, each with its own model.

Recordings and results are in a folder that all machines share under the same path. Ray restarts an actor that
died and assigns its recordings again; existing results are replaced by equal ones.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

from .jobs import Job
from .manifest import Row
from .work import Work, failed

JOBS_AT_ONCE = 4  # assigned to an actor; these are repeated if it dies
TRIES = 3  # of a job whose actor dies


def on_cluster(
    work: Work, jobs: Sequence[Job], address: str, num_workers: int, num_gpus: float = 0
) -> Iterator[tuple[Job, list[Row]]]:
    """Each job with its rows, in order of completion. address: of Ray, "local" for this machine alone.

    num_gpus: GPUs of each actor. Raises ValueError if Ray is not installed or cannot be reached.
    """
    if find_spec("ray") is None:
        raise ValueError("--ray needs Ray: pip install 'qsep[ray]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster started here reports nothing
    import ray
    import ray.data

    if not ray.is_initialized():
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                include_dashboard=False if address == "local" else None,
                logging_level=logging.ERROR,
            )
        except ConnectionError as error:
            raise ValueError(f"--ray {address}: no cluster answers there: {error}") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # its plans and progress
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # lost blocks are reported below
    by_key = {(job.folder, job.path): job for job in jobs}
    items = [{"job": json.dumps(asdict(job))} for job in jobs]
    rows = ray.data.from_items(
        items, override_num_blocks=max(1, -(-len(items) // JOBS_AT_ONCE))
    ).map(
        Actor,
        fn_constructor_args=(work,),
        compute=ray.data.ActorPoolStrategy(size=num_workers),
        num_cpus=1,
        num_gpus=num_gpus,
        max_restarts=-1,
        max_task_retries=TRIES - 1,
    )
    for outcome in rows.iter_rows():
        job = by_key.pop(tuple(json.loads(outcome["key"])))
        yield job, json.loads(outcome["rows"])
    for job in by_key.values():
        lost = f"the worker that had it died, {TRIES} times"
        yield job, failed(job, work.queries_of(job), lost)


class Actor:
    """An actor of Ray Data: maps an item with a job to an item with the job's rows."""

    def __init__(self, work: Work) -> None:
        self.run = work.start()

    def __call__(self, item: dict[str, Any]) -> dict[str, str]:
        """The job's rows, and its folder and path, as JSON texts."""
        fields = json.loads(item["job"])
        only = fields["only"]
        job = Job(
            fields["path"],
            fields["folder"],
            tuple(fields["queries"]),
            None if only is None else tuple(only),
        )
        return {"key": json.dumps([job.folder, job.path]), "rows": json.dumps(self.run(job))}

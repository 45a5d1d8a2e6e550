"""Bulk work without a model, importable by other processes and machines."""

import json
import logging
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qsep.recipes.inference.bulk.jobs import Job
from qsep.recipes.inference.bulk.manifest import Row
from qsep.recipes.inference.bulk.work import Runner


@dataclass(frozen=True)
class Copying:
    """Writes a copy of each file, and logs a warning for "warn". "once…" kills the process at its first
    attempt, "always…" each time; tries are counted in the folder."""

    out: str
    together: bool = False

    def queries_of(self, job: Job) -> Sequence[str]:
        return ("copy",)

    def files_of(self, job: Job, query: str) -> list[str]:
        return [Path(job.path).name]

    def start(self) -> Runner:
        if not Path(self.out).is_dir():
            raise ValueError("no folder")

        def run(job: Job) -> list[Row]:
            path = Path(job.path)
            tries = Path(self.out) / f"{path.name}.tries"
            tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
            first = len(tries.read_text()) == 1
            if path.name.startswith("always") or (path.name.startswith("once") and first):
                os.kill(os.getpid(), signal.SIGKILL)
            (Path(self.out) / path.name).write_bytes(path.read_bytes())
            if path.name == "warn":
                logging.getLogger("qsep").warning("copied %s", path.name)
            return [{"input": job.path, "key": job.key, "query": "copy", "error": None}]

        return run


def files(folder: Path, names: Sequence[str]) -> list[Job]:
    folder.mkdir()
    for name in names:
        (folder / name).write_text(json.dumps(name))
    return [Job(str(folder / name)) for name in names]

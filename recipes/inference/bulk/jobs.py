"""The recordings of a bulk run, and where the results of each go."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PurePosixPath

from ...data.prepare.tree import CONVERTIBLE, READABLE

RECORDINGS = READABLE | CONVERTIBLE  # endings of the files that are taken from a folder


@dataclass(frozen=True)
class Job:
    """One recording. path: as it was given. folder: of its results, below the run's. queries: in words, of
    this recording alone; empty for those of the run. only: the names of those that are left to do, or None
    for all."""

    path: str
    folder: str = "."
    queries: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None

    @property
    def key(self) -> str:
        """What the recording is called in its folder of results, however the run was started."""
        return (PurePosixPath(self.folder) / PurePath(self.path).name).as_posix()


def jobs_of(inputs: Sequence[Path], out: Path, is_result: Callable[[Path], bool]) -> Iterator[Job]:
    """A job for each file, and for each recording below each folder, whose results keep its place there.

    out: folder of the results, which are not separated again where it lies in one of the folders.
    is_result: whether a file in it is one. ValueError for what is missing, and a folder without recordings.
    """
    for path in inputs:
        if path.is_dir():
            found = False
            for recording in recordings_below(path, out, is_result):
                found = True
                yield Job(str(recording), recording.parent.relative_to(path).as_posix())
            if not found:
                raise ValueError(
                    f"{path} holds no recordings ({', '.join(sorted(READABLE))} …): "
                    "check the folder, or list the files with --from"
                )
        elif path.exists():
            yield Job(str(path))
        else:
            raise ValueError(f"{path} does not exist: check the name")


def recordings_below(folder: Path, out: Path, is_result: Callable[[Path], bool]) -> Iterator[Path]:
    """Sorted; neither hidden files and folders nor what links to folders lead to."""
    results = out.resolve()
    apart = results != folder.resolve()
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and not (apart and Path(place, name).resolve() == results)
        )
        for name in sorted(files):
            path = Path(place, name)
            if path.suffix.lower() in RECORDINGS and not name.startswith("."):
                if apart or not is_result(path):
                    yield path


def merged(jobs: Iterable[Job]) -> list[Job]:
    """One job for each recording and folder, with all its queries, in the order of the first.

    Recordings whose results would have the same names, as a.wav and a.flac, get a folder each, called as
    they are.
    """
    together: dict[tuple[str, str], Job] = {}
    for job in jobs:
        place = (job.folder, os.path.abspath(job.path))
        if place in together:
            first = together[place]
            queries = tuple(dict.fromkeys((*first.queries, *job.queries)))
            together[place] = replace(first, queries=queries)
        else:
            together[place] = job
    names = Counter((job.folder, PurePath(job.path).stem) for job in together.values())
    return [
        job if names[job.folder, PurePath(job.path).stem] == 1 else replace(job, folder=job.key)
        for job in together.values()
    ]


def parse_shard(text: str) -> tuple[int, int]:
    """ "I/N", the I-th of N parts, I from 1; ValueError for anything else."""
    number, _, total = text.partition("/")
    if not (number.isdecimal() and total.isdecimal() and 1 <= int(number) <= int(total)):
        raise ValueError(f"--shard {text!r}: expected I/N, as 1/4, with I from 1 to N")
    return int(number), int(total)


def in_shard(job: Job, shard: tuple[int, int]) -> bool:
    """Whether the recording belongs to this part. That follows from its name alone, so that parts neither
    overlap nor leave anything out where files are added between their starts."""
    number, total = shard
    digest = hashlib.sha256(job.key.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8]) % total == number - 1

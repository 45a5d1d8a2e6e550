"""The recordings of a bulk run, and the folders of their results."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath, PurePosixPath

from ...data.prepare.tree import CONVERTIBLE, READABLE
from ...data.walk import visible_files

RECORDINGS = READABLE | CONVERTIBLE  # suffixes of the files that are read from a folder
MAX_ENDINGS = 5  # named of the files left out


@dataclass(frozen=True)
class Job:
    """A recording to separate. path: as the user gave it. folder: of its results, below the run's.

    queries: this recording's own, in words; empty to use those of the run. only: names of the queries still
    to do; None for all.
    """

    path: str
    folder: str = "."
    queries: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None

    @property
    def key(self) -> str:
        """The recording's name in the manifest, independent of how the run was started."""
        return (PurePosixPath(self.folder) / PurePath(self.path).name).as_posix()


@dataclass
class Others:
    """Counts the files in folders that are not recordings. endings: how often each occurred."""

    endings: Counter[str] = field(default_factory=Counter)

    @property
    def num(self) -> int:
        """How many files in all."""
        return self.endings.total()

    def summary(self) -> str:
        """A line on how many were left out, and which kinds they are."""
        kinds = [ending or "no ending" for ending, _ in self.endings.most_common(MAX_ENDINGS)]
        more = " …" if len(self.endings) > MAX_ENDINGS else ""
        files = "1 file" if self.num == 1 else f"{self.num} files"
        return f"{files} left out, whose names are not those of audio ({', '.join(kinds)}{more})"


def jobs_of(
    inputs: Sequence[Path], out: Path, is_result: Callable[[Path], bool], others: Others
) -> Iterator[Job]:
    """A job for each file and each recording below each folder; results keep the subfolders.

    out: folder of results; it is not searched if it lies in one of the folders. is_result: whether a file
    in it is a result. others: counts the other files of the folders. Raises ValueError for missing inputs
    and folders without recordings.
    """
    for path in inputs:
        if path.is_dir():
            is_empty = True
            for recording in recordings_below(path, out, is_result, others):
                is_empty = False
                yield Job(str(recording), recording.parent.relative_to(path).as_posix())
            if is_empty:
                raise ValueError(
                    f"{path} holds no recordings ({', '.join(sorted(READABLE))} …): "
                    "check the folder, or list the files with --from"
                )
        elif path.exists():
            yield Job(str(path))
        else:
            raise ValueError(f"{path} does not exist: check the name")


def recordings_below(
    folder: Path, out: Path, is_result: Callable[[Path], bool], others: Others
) -> Iterator[Path]:
    """The recordings below a folder, sorted, without hidden files and without following links to folders."""
    results = out.resolve()
    is_separate = results != folder.resolve()

    def enters(subfolder: Path) -> bool:
        return not (is_separate and subfolder.resolve() == results)

    for path in visible_files(folder, follow_links=False, enters=enters):
        if not is_separate and is_result(path):
            continue
        if path.suffix.lower() in RECORDINGS:
            yield path
        else:
            others.endings[path.suffix.lower()] += 1


def merged(jobs: Iterable[Job]) -> list[Job]:
    """A job for each recording and folder, with all of its queries, in the order of first appearance.

    Recordings whose results would have the same names, as those of a.wav and a.flac, get a folder each, with
    the recording's name.
    """
    by_recording: dict[tuple[str, str], Job] = {}
    for job in jobs:
        key = (job.folder, os.path.abspath(job.path))
        if key in by_recording:
            first = by_recording[key]
            queries = tuple(dict.fromkeys((*first.queries, *job.queries)))
            by_recording[key] = replace(first, queries=queries)
        else:
            by_recording[key] = job
    names = Counter((job.folder, PurePath(job.path).stem) for job in by_recording.values())
    return [
        job if names[job.folder, PurePath(job.path).stem] == 1 else replace(job, folder=job.key)
        for job in by_recording.values()
    ]


def parse_shard(text: str) -> tuple[int, int]:
    """The numbers (I, N) of "I/N", shard I of N, 1 <= I <= N; ValueError for anything else."""
    number, _, total = text.partition("/")
    if not (number.isdecimal() and total.isdecimal() and 1 <= int(number) <= int(total)):
        raise ValueError(f"--shard {text!r}: expected I/N, as 1/4, with I from 1 to N")
    return int(number), int(total)


def in_shard(job: Job, shard: tuple[int, int]) -> bool:
    """Whether the recording belongs to this shard.

    It depends on the name alone, so that shards stay disjoint and complete if files are added between their
    starts.
    """
    number, total = shard
    digest = hashlib.sha256(job.key.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8]) % total == number - 1

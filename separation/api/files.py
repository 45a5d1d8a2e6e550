"""Separation from file to files in constant memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager as ContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qsep.queries.constraints import NO_CONSTRAINTS, Constraints
from qsep.queries.interface import Query

from ..audio.file_names import DEFAULT_NAMING, Naming
from ..audio.reader import BLOCK_SAMPLES, AudioReader
from ..audio.source import AS_STORED, ReadOptions
from ..audio.target_files import TargetFiles
from ..inference.progress import report, reporting_to

if TYPE_CHECKING:
    from ..light.model import LightModel
    from .model import Model

DETECTION_SECONDS = 120.0  # of a recording, in which the classes present are looked for

Progress = Callable[[float, float | None], object]


def separate_file(
    model: Model | LightModel,
    path: Path,
    queries: Sequence[Query],
    folder: Path,
    residual: bool = False,
    progress: Progress | None = None,
    constraints: Constraints = NO_CONSTRAINTS,
    commit: Callable[[Path, Path], object] = os.replace,
    naming: Naming = DEFAULT_NAMING,
    read_options: ReadOptions = AS_STORED,
    min_level_db: float | None = None,
) -> list[dict[str, Any]]:
    """Separate a file into files of the same rate, channels, length and sample format.

    Writes STEM.QUERY.wav and, if `residual`, STEM.QUERY.residual.wav into the folder; for exclusive
    constraints one STEM.residual.wav, which sums to the recording together with all targets.
    Memory does not grow with the length of the recording. If anything fails, no file is left behind.

    progress: called with (seconds done, seconds according to the header or None).
    commit, min_level_db: see `TargetFiles`. naming: file names and format; the lossless ones alone keep the
    sum exact.
    Returns a row for each query: its files, or those `omitted` because of min_level_db, the target's level in
    dB relative to the recording (None if that is silent), the recording's duration and sample rate, the
    constraints, the reading of its words, and which candidates were kept.
    Raises AudioError for a file that cannot be read or written, ValueError for queries that the model
    cannot encode, and for min_level_db with exclusive constraints, which need all targets.
    """
    if constraints.exclusive and min_level_db is not None:
        raise ValueError("exclusive targets sum to the recording, so none can be left out by level")
    folder.mkdir(parents=True, exist_ok=True)
    paths = [
        [
            folder / name
            for name in naming.result_names(
                path.stem, query.name, residual, constraints.exclusive, index
            )
        ]
        for index, query in enumerate(queries, start=1)
    ]
    size = model.max_queries
    if constraints.exclusive:  # such targets need one another, so they are separated in one pass
        size = len(queries)
    passes = range(0, len(queries), max(size, 1))
    rows: list[dict[str, Any]] = []
    for index, first in enumerate(passes):
        rows += _separate_together(
            model,
            path,
            queries[first : first + size],
            paths[first : first + size],
            progress_of_pass(progress, index, len(passes)),
            constraints,
            commit,
            naming.file_format,
            read_options,
            min_level_db,
        )
    return rows


def _separate_together(
    model: Model | LightModel,
    path: Path,
    queries: Sequence[Query],
    paths: Sequence[Sequence[Path]],
    progress: Progress | None,
    constraints: Constraints,
    commit: Callable[[Path, Path], object],
    file_format: str,
    read_options: ReadOptions,
    min_level_db: float | None,
) -> list[dict[str, Any]]:
    """As `separate_file`, all queries in one pass over the recording."""
    with AudioReader(path, options=read_options) as reader:
        rate = reader.sample_rate
        claimed_seconds = reader.claimed_samples / rate if reader.claimed_samples else None
        readings = [model.read(query) for query in queries]
        with TargetFiles(
            reader, paths, constraints.exclusive, commit, file_format, min_level_db
        ) as files:
            resolved = model.resolve(queries, readings, opening(path, read_options), rate)
            separator = model.choosing_separator(resolved, constraints)
            blocks = reader.blocks(BLOCK_SAMPLES)
            with reporting(progress, claimed_seconds):
                for mixture, targets in model.separate_blocks(
                    blocks, rate, resolved, constraints, separator
                ):
                    files.write(mixture, targets)
                    report(files.num_samples / rate)
    return [
        {
            "input": str(path),
            "query": query.name,
            "files": [str(file) for file in group if is_written],
            "seconds": files.num_samples / rate,
            "sample_rate": rate,
            "level_db": level,
        }
        | ({} if is_written else {"omitted": [str(file) for file in group]})
        | constraints.plain()
        | ({"reading": reading.plain()} if reading else {})
        | model.explained(separator, index)
        for index, (query, group, is_written, level, reading) in enumerate(
            zip(queries, paths, files.written(), files.levels_db(), readings, strict=True)
        )
    ]


def reporting(progress: Progress | None, claimed_seconds: float | None) -> ContextManager[None]:
    """A context in which seconds done are passed to `progress` together with the claimed duration."""
    if progress is None:
        return contextlib.nullcontext()
    return reporting_to(lambda done: progress(done, claimed_seconds))


def opening(path: Path, options: ReadOptions) -> Iterator[NDArray[np.floating]]:
    """Blocks (c, t) of the first DETECTION_SECONDS of a file, which is opened at the first block."""
    with AudioReader(path, quiet=True, options=options) as reader:
        num_left = round(DETECTION_SECONDS * reader.sample_rate)
        for block in reader.blocks(BLOCK_SAMPLES):
            yield block[:, :num_left]
            num_left -= block.shape[-1]
            if num_left <= 0:
                return


def progress_of_pass(progress: Progress | None, index: int, num_passes: int) -> Progress | None:
    """A callback for pass `index` over a recording that reports the progress of all passes."""
    if progress is None:
        return None
    return lambda done, claimed: progress((index * (claimed or 0.0) + done) / num_passes, claimed)

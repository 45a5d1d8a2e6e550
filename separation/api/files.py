"""Separation from file to files in constant memory."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager as ContextManager
from datetime import timedelta
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
from ..storage.temporary import is_temporary
from ..storage.unfinished import Unfinished, unfinished

if TYPE_CHECKING:
    from ..light.model import LightModel
    from .model import Model

logger = logging.getLogger("qsep")

LONG_BYTES = 1 << 20  # of recordings whose separation is continued: about a minute at 8 kHz
ROWS = "rows"  # of the passes that are done, in the state of unfinished work
DETECTION_SECONDS = 120.0  # of a recording, in which the classes present are looked for

Progress = Callable[[float, float | None], object]
Commit = Callable[[Sequence[tuple[Path, Path]]], object]


def rename_all(files: Sequence[tuple[Path, Path]]) -> None:
    """Rename each file to its new path."""
    for file, path in files:
        os.replace(file, path)


def separate_file(
    model: Model | LightModel,
    path: Path,
    queries: Sequence[Query],
    folder: Path,
    residual: bool = False,
    progress: Progress | None = None,
    constraints: Constraints = NO_CONSTRAINTS,
    commit: Commit = rename_all,
    naming: Naming = DEFAULT_NAMING,
    read_options: ReadOptions = AS_STORED,
    min_level_db: float | None = None,
) -> list[dict[str, Any]]:
    """Separate a file into files of the same rate, channels, length and sample format.

    Writes STEM.QUERY.wav and, if `residual`, STEM.QUERY.residual.wav into the folder; for exclusive
    constraints one STEM.residual.wav, which sums to the recording together with all targets.
    Memory does not grow with the length of the recording. The files appear together at the end. If anything
    fails, none is left behind, except that the same call continues work of more than SAVE_SECONDS that was
    interrupted: see `unfinished`. The results are then those of an uninterrupted call.

    progress: called with (seconds done, seconds according to the header or None).
    commit: moves finished temporary files to their paths, as `Results.commit_all`. min_level_db: see
    `TargetFiles`. naming: file names and format; the lossless ones alone keep the
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
    outputs = list(dict.fromkeys(file for group in paths for file in group))
    key = None
    if is_worth_keeping(model, path):
        options = [constraints.plain(), read_options.plain(), min_level_db]
        key = key_of(model, path, [*queries, *constraints.negatives], outputs, options)
    size = model.max_queries
    if constraints.exclusive:  # such targets need one another, so they are separated in one pass
        size = len(queries)
    passes = range(0, len(queries), max(size, 1))
    with unfinished(folder, key, outputs, str(path)) as work:
        rows: list[dict[str, Any]] = work.state.get(ROWS, [])
        for index, first in enumerate(passes):
            if first < len(rows):
                continue  # an earlier run did it
            rows += _separate_together(
                model,
                path,
                queries[first : first + size],
                paths[first : first + size],
                progress_of_pass(progress, index, len(passes)),
                constraints,
                work,
                naming.file_format,
                read_options,
                min_level_db,
            )
            work.state = {ROWS: rows}
            if work.is_saved:
                work.save()
        finished = [(work.complete(output), output) for output in outputs]
        commit([(file, output) for file, output in finished if file.exists()])
    return rows


def _separate_together(
    model: Model | LightModel,
    path: Path,
    queries: Sequence[Query],
    paths: Sequence[Sequence[Path]],
    progress: Progress | None,
    constraints: Constraints,
    work: Unfinished,
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
            *(reader, paths, constraints.exclusive),
            file_format=file_format,
            min_level_db=min_level_db,
            work=work,
        ) as files:
            if files.num_known:
                done = f"{timedelta(seconds=files.num_known // rate)}"
                logger.warning("%s: continued at %s, where an earlier run ended", path, done)
            resolved = model.resolve(queries, readings, opening(path, read_options), rate)
            separator = model.choosing_separator(resolved, constraints)
            blocks = reader.blocks(BLOCK_SAMPLES)
            with reporting(progress, claimed_seconds):
                for mixture, targets in model.separate_blocks(
                    *(blocks, rate, resolved, constraints, separator),
                    num_known=files.num_known,
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


def is_worth_keeping(model: Model | LightModel, path: Path) -> bool:
    """Whether the separation of this recording can take minutes, and can be continued."""
    is_long = path.is_file() and path.stat().st_size >= LONG_BYTES
    return is_long and model.can_continue and not is_temporary(path.absolute())


def key_of(
    model: Model | LightModel,
    path: Path,
    queries: Sequence[Query],
    outputs: Sequence[Path],
    options: list[Any],
) -> str:
    """A digest of all that the results depend on: the recording, model, queries, outputs and options.

    The recording is known by its path, size and time of change.
    """
    from qsep import __version__

    state = path.stat()
    recording = [str(path.absolute()), state.st_size, state.st_mtime_ns]
    named = [list(map(repr, queries)), [output.name for output in outputs]]
    described = [__version__, model.fingerprint, str(model.device), recording, named, options]
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()


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

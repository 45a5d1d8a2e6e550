"""Separating many files: everything that can be refused is refused first, one bad file stops none."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qsep.queries.interface import Constraints, Query
from qsep.separation.audio.file_names import result_names
from qsep.separation.audio.flac import FORMATS
from qsep.separation.storage.results import Results

from ..cli.errors import one_line, say_error
from ..cli.timing import timed

if TYPE_CHECKING:
    from qsep.separation.api import Model


def check_jobs(
    inputs: Sequence[Path],
    queries: Sequence[Query],
    out: Path,
    residual: bool,
    overwrite: bool,
    common: bool = False,
    command: str = "separate",
    file_format: str = "wav",
) -> Results:
    """Raise ValueError for what is wrong before any work: inputs, folder, files in the way.

    common: all queries share one residual. Returns the folder of results, which may hold files of others;
    with overwrite, only what the same command wrote there is replaced.
    """
    if file_format not in FORMATS:
        raise ValueError(f"--format {file_format}: expected {' or '.join(FORMATS)}")
    for path in inputs:
        if not path.exists():
            raise ValueError(f"{path} does not exist: check the name")
        if path.is_dir():
            raise ValueError(f"{path} is a folder: name the recordings in it, as {path}/*.wav")
    results = Results(out, command, shared=True)
    parent = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(f"{parent} cannot be written to: choose another folder with -o")
    claimed: dict[Path, tuple[Path, Query | None]] = {}  # None: the residual of all
    for path in inputs:
        for query in queries:
            names = result_names(path.stem, query.name, residual, common, file_format)
            for name, owner in zip(names, (query, None if common else query), strict=False):
                target = out / name
                other, same = claimed.setdefault(target, (path, owner))
                if other != path or same is not owner:
                    what = (
                        f"{other} and {path}"
                        if other != path
                        else f"{called(same)} and {called(owner)}"
                    )
                    raise ValueError(
                        f"{what} would both be written to {target}: separate them in two runs"
                    )
    refuse_taken(claimed, inputs, overwrite, results)
    return results


def refuse_taken(
    files: Iterable[Path], inputs: Sequence[Path], overwrite: bool, results: Results
) -> None:
    """Raise ValueError if one of the files to write is an input, or there already."""
    originals = {path.resolve() for path in inputs}
    for file in files:
        if file.resolve() in originals:
            raise ValueError(f"{file} is an input too: choose another folder with -o")
        if file.exists() and not overwrite:
            raise ValueError(f"{file} exists: add --overwrite or choose another folder with -o")
        results.claim(results.name_of(file))


def called(owner: Query | None) -> str:
    return "the residual" if owner is None else repr(owner.name)


def separate_files(
    model: Model,
    inputs: Sequence[Path],
    queries: Sequence[Query],
    results: Results,
    residual: bool,
    json_output: bool,
    constraints: Constraints,
    quiet: bool = False,
    file_format: str = "wav",
) -> bool:
    """Write each input's results and, unless quiet, say so; False if some input failed."""
    from .level_words import level_in_words

    out = results.folder
    out.mkdir(parents=True, exist_ok=True)
    all_done = True
    for path in inputs:
        try:
            model.learn_queries([*queries, *constraints.negatives])
            with progress_bar(path.name, quiet) as progress, timed(f"{path.name} took"):
                rows = model.separate_file(
                    path, queries, out, residual, progress, constraints, results.commit, file_format
                )
        except Exception as error:  # whatever is wrong with one file, the others go on
            all_done = False
            report_failure(path, error, json_output)
            continue
        for row in rows:
            if json_output:
                print(json.dumps(row))
                continue
            if quiet:
                continue
            files = ", ".join(row["files"])
            print(
                f"{files}  {row['seconds']:.1f} s, {row['level_db']:.1f} dB of the input: "
                f"{level_in_words(row['level_db'])}"
            )
    return all_done


def report_failure(path: Path, error: Exception, json_output: bool) -> None:
    """One input failed: a line on standard error, and where asked for, an object on standard output."""
    say_error(error, str(path))
    if json_output:
        print(json.dumps({"input": str(path), "error": one_line(error)}))


@contextmanager
def progress_bar(name: str, quiet: bool = False) -> Iterator[Any]:
    """A callback for (seconds done, seconds in all or None); a bar on stderr if it is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(name, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)

"""Separating several files: all checks come first, and a file that fails does not stop the others."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qsep.queries.interface import Query
from qsep.separation.audio.file_names import DEFAULT_NAMING
from qsep.separation.audio.source import called
from qsep.separation.storage.results import Results

from ..errors import one_line, print_error
from .lost_band import LostBand
from .output import Output
from .timing import timed

if TYPE_CHECKING:
    from qsep.separation.api import Model
    from qsep.separation.light.model import LightModel

    from .bulk.separating import SeparateWork


def check_jobs(
    inputs: Sequence[Path],
    queries: Sequence[Query],
    output: Output,
    exclusive: bool = False,
    command: str = "separate",
) -> Results:
    """Raise ValueError for everything that can be refused before any work starts.

    That is: missing inputs, a folder that cannot be written to, two results of one name,
    existing files that may not be replaced.
    exclusive: all queries share one residual. Returns the folder of results, which may hold other files;
    with overwrite, only what the same command wrote there is replaced.
    """
    check_inputs(inputs)
    results = Results(output.folder, command, shared=True)
    check_writable(output.folder)
    refuse_existing(planned_files(inputs, queries, output, exclusive), inputs, output, results)
    return results


def check_inputs(inputs: Sequence[Path]) -> None:
    """Raise ValueError for an input that is missing or a folder."""
    for path in inputs:
        if not path.exists():
            raise ValueError(f"{path} does not exist: check the name")
        if path.is_dir():
            raise ValueError(f"{path} is a folder: name the recordings in it, as {path}/*.wav")


def check_writable(folder: Path) -> None:
    """Raise ValueError unless the folder, or the nearest existing one above it, can be written to."""
    parent = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ValueError(f"{parent} cannot be written to: choose another folder with -o")


def planned_files(
    inputs: Sequence[Path], queries: Sequence[Query], output: Output, exclusive: bool
) -> list[Path]:
    """Every file that the results will be written to; ValueError where two results share one."""
    sources: dict[Path, tuple[Path, Query | None]] = {}  # None: the residual common to all queries
    for path in inputs:
        for index, query in enumerate(queries, start=1):
            names = output.naming.result_names(
                path.stem, query.name, output.residual, exclusive, index
            )
            for name, part in zip(names, (query, None if exclusive else query), strict=False):
                file = output.folder / name
                other_path, other_part = sources.setdefault(file, (path, part))
                if other_path != path:
                    raise collision(str(other_path), str(path), file, output)
                if other_part is not part:
                    raise collision(part_name(other_part), part_name(part), file, output)
    return list(sources)


def collision(first: str, second: str, file: Path, output: Output) -> ValueError:
    """The error for two results that would be written to one file."""
    if output.naming.template == DEFAULT_NAMING.template:
        remedy = "separate them in two runs, or set --name"
    else:
        remedy = "give --name {stem}, {query} or {index}"
    return ValueError(f"{first} and {second} would both be written to {file}: {remedy}")


def part_name(query: Query | None) -> str:
    """A result as messages call it; None is the residual common to all queries."""
    return "the residual" if query is None else repr(query.name)


def refuse_existing(
    files: Iterable[Path], inputs: Sequence[Path], output: Output, results: Results
) -> None:
    """Raise ValueError if a file to be written is one of the inputs, or exists and may not be replaced."""
    originals = {path.resolve() for path in inputs}
    for file in files:
        if file.resolve() in originals:
            raise ValueError(f"{file} is an input too: choose another folder with -o")
        if file.exists() and not output.overwrite:
            raise ValueError(f"{file} exists: add --overwrite or choose another folder with -o")
        results.claim(results.name_of(file))


def separate_files(
    model: Model | LightModel,
    inputs: Sequence[Path],
    work: SeparateWork,
    results: Results,
    output: Output,
    names: Mapping[Path, str],
) -> bool:
    """Write each input's results and report them; False if some input failed.

    output: as of `work`, but in the folder where results are first written. names: of inputs that are
    temporary files, for messages.
    """
    from qsep.separation.api import files

    results.folder.mkdir(parents=True, exist_ok=True)
    lost_band = LostBand(model.name, model.separator.sample_rate)
    all_done = True
    for path in inputs:
        name = names.get(path, str(path))
        try:
            model.prepare_queries([*work.queries, *work.constraints.negatives])
            with (
                called(path, name),
                progress_bar(Path(name).name, output.quiet) as progress,
                timed(f"{Path(name).name} took"),
            ):
                rows = files.separate_file(
                    model,
                    path,
                    work.queries,
                    results.folder,
                    output.residual,
                    progress,
                    work.constraints,
                    results.commit_all,
                    output.naming,
                    work.read_options,
                    work.min_level_db,
                )
        except Exception as error:  # one file's failure does not stop the others
            all_done = False
            report_failure(name, error, output.json)
            continue
        for row in rows:
            remove_omitted(row, results)
        report_results([row | {"input": name} for row in rows], output)
        lost_band.look_at(rows, name)
    return all_done


def remove_omitted(row: Mapping[str, Any], results: Results) -> None:
    """Delete what an earlier run wrote in place of results that this one has omitted."""
    results.remove(results.name_of(Path(file)) for file in row.get("omitted", ()))


def report_results(rows: Sequence[dict[str, Any]], output: Output) -> None:
    """Print a line, or a JSON object, for each result of one input."""
    for row in rows:
        if output.json:
            print(json.dumps(row))
        elif not output.quiet:
            print_result(row)


def print_result(row: Mapping[str, Any]) -> None:
    """Print a line for one result: its files, duration and level."""
    from .level_words import finding_in_words, in_decibels

    omitted = row.get("omitted", [])
    files = omitted or row.get("files") or [each["file"] for each in row["outputs"]]
    print(
        f"{', '.join(files)}  {'not written, ' if omitted else ''}{row['seconds']:.1f} s, "
        f"{in_decibels(row['level_db'])}: {finding_in_words(row['level_db'])}"
    )


def report_failure(name: str, error: Exception, as_json: bool) -> None:
    """Say on standard error that one input failed and, for JSON, print an object that says so."""
    print_error(error, name)
    if as_json:
        print(json.dumps({"input": name, "error": one_line(error)}))


@contextmanager
def progress_bar(name: str, quiet: bool = False) -> Iterator[Any]:
    """A bar on standard error if that is a terminal, and the callback that moves it, else None.

    The callback takes the seconds of audio done, and the seconds in all or None where that is unknown.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(name, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)

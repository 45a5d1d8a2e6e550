"""`-` as a file name: a recording from standard input, a WAV file to standard output.

A WAV file from one to the other is separated as a stream, with its latency. Other formats, and words whose
meaning depends on the recording, wait for the end of the input.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qsep.separation.storage.temporary import explained, scratch_folder

if TYPE_CHECKING:
    from qsep.queries.constraints import Constraints
    from qsep.queries.interface import Query
    from qsep.separation.api import Model
    from qsep.separation.audio.sample_format import Waveform

PIPE = Path("-")
STANDARD_INPUT = "standard input"  # in messages
STDIN_STEM = "stdin"  # of results of a recording that has no name


@contextmanager
def real_paths(
    inputs: Sequence[Path], out: Path, num_results: int, consumed: bytes = b""
) -> Iterator[tuple[list[Path], Path]]:
    """The inputs and the folder of results, with temporary files in place of `-`.

    At the end, unless there was an error, the result is copied to standard output. num_results: number of
    files that each input is separated into. consumed: what was read of standard input before. Raises
    ValueError for more than one input or result with `-o -`, and for `-` as an input if standard input is a
    terminal.
    """
    to_stdout = out == PIPE
    if to_stdout and (len(inputs) != 1 or num_results != 1):
        raise ValueError(
            "-o - writes one sound to standard output: give one recording and one query, no "
            "--residual; or -o a folder"
        )
    if not to_stdout and PIPE not in inputs:
        yield list(inputs), out
        return
    with scratch_folder() as scratch:
        piped_in, piped_out = scratch / STDIN_STEM, scratch / "out"
        if PIPE in inputs:
            refuse_terminal()
            with explained(scratch.parent), piped_in.open("wb") as file:
                file.write(consumed)
                shutil.copyfileobj(sys.stdin.buffer, file)
        yield (
            [piped_in if path == PIPE else path for path in inputs],
            piped_out if to_stdout else out,
        )
        if to_stdout:
            (result,) = (path for path in piped_out.iterdir() if not path.name.startswith("."))
            with result.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()


def names_of(inputs: Sequence[Path], recordings: Sequence[Path]) -> dict[Path, str]:
    """What messages call the recordings that stand for `-`. recordings: of `real_paths` for these inputs."""
    pairs = zip(inputs, recordings, strict=True)
    return {recording: STANDARD_INPUT for path, recording in pairs if path == PIPE}


def refuse_terminal() -> None:
    """ValueError if standard input is a terminal."""
    if sys.stdin.isatty():
        raise ValueError("- reads a recording from standard input: pipe one in, or name a file")


def passed_through(model: Model, query: Query, constraints: Constraints) -> bytes | None:
    """Separate a WAV file from standard input to standard output as a stream.

    Returns None when done. If the input cannot be streamed, nothing is written, and the bytes that were read
    of standard input are returned. Raises ValueError as `Model.separate_blocks`, and AudioError for a
    file that is not as its header says, once the targets of its samples are written.
    """
    from qsep.separation.audio.sample_format import encode, quantise, split
    from qsep.separation.audio.source import AudioError
    from qsep.separation.audio.wav_stream import NotStreamableError, read_blocks, read_header
    from qsep.separation.inference.stream import early_chunk_seconds
    from qsep.separation.inference.unexplained import has_unknown_words

    reading = model.read(query)
    if reading is not None and has_unknown_words(reading):
        return b""
    refuse_terminal()
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    try:
        form = read_header(source)
    except NotStreamableError as refused:
        return refused.consumed
    faults: list[AudioError] = []

    def readable_blocks() -> Iterator[Waveform]:
        try:
            yield from read_blocks(source, form)
        except AudioError as error:
            faults.append(error)

    sink.write(form.header())
    sink.flush()
    num_bytes = 0
    for mixture, targets in model.separate_blocks(
        readable_blocks(),
        form.sample_rate,
        [query],
        constraints,
        chunk_seconds=early_chunk_seconds(model.separator),
    ):
        target, _ = split(mixture, targets[0], form.subtype)
        if not np.isfinite(target).all():
            raise ValueError("the model made NaN or infinite samples: try another model or device")
        num_bytes += sink.write(encode(quantise(target, form.subtype), form.subtype))
        sink.flush()
    sink.write(b"\0" * (num_bytes % 2))  # chunks have even lengths
    sink.flush()
    if faults:
        raise faults[0]
    return None

"""`-` as a file name: a recording from standard input, a WAV file to standard output.

A WAV file from one to the other passes through as it comes, with the latency of a stream. All else waits
for the end of the input: other formats, and words whose meaning depends on the recording.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from qsep.queries.constraints import Constraints
    from qsep.queries.interface import Query
    from qsep.separation.api import Model

PIPE = Path("-")
STDIN_STEM = "stdin"  # of results of a recording that has no name


class Pipes:
    """A context manager that replaces `-` by temporary files; inside, `inputs` and `out` are real paths.

    At the end, unless there was an error, the result is copied to standard output. Raises ValueError for more
    than one input or result with `-o -`, and for `-` as an input if standard input is a terminal.
    """

    def __init__(
        self, inputs: Sequence[Path], out: Path, num_results: int, consumed: bytes = b""
    ) -> None:
        """out: folder of results or `-`. num_results: number of files that each input is separated into.
        consumed: what was read of standard input before.
        """
        self._consumed = consumed
        self.to_stdout = out == PIPE
        if self.to_stdout and (len(inputs) != 1 or num_results != 1):
            raise ValueError(
                "-o - writes one sound to standard output: give one recording and one query, no "
                "--residual; or -o a folder"
            )
        self._temporary = tempfile.TemporaryDirectory(prefix="qsep-")
        folder = Path(self._temporary.name)
        self._stdin = folder / STDIN_STEM
        self.inputs = [self._stdin if path == PIPE else path for path in inputs]
        self.out = folder / "out" if self.to_stdout else out

    def __enter__(self) -> Pipes:
        if self._stdin in self.inputs:
            refuse_terminal()
            with self._stdin.open("wb") as file:
                file.write(self._consumed)
                shutil.copyfileobj(sys.stdin.buffer, file)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None and self.to_stdout:
                (result,) = (path for path in self.out.iterdir() if not path.name.startswith("."))
                with result.open("rb") as file:
                    shutil.copyfileobj(file, sys.stdout.buffer)
                sys.stdout.buffer.flush()
        finally:
            self._temporary.cleanup()


def refuse_terminal() -> None:
    """ValueError where nothing is piped in."""
    if sys.stdin.isatty():
        raise ValueError("- reads a recording from standard input: pipe one in, or name a file")


def passed_through(model: Model, query: Query, constraints: Constraints) -> bytes | None:
    """Separate a WAV file from standard input to standard output as it comes.

    Returns None when that is done. Where it cannot be done so, nothing is written, and the bytes that were
    read of standard input are returned. Raises ValueError as `Model.separate_blocks`, and AudioError for a
    file that is not as its header says, after its samples were written.
    """
    from qsep.separation.audio.sample_format import encode, quantise, split
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
    sink.write(form.header())
    sink.flush()
    num_bytes = 0
    for mixture, targets in model.separate_blocks(
        read_blocks(source, form),
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
    return None

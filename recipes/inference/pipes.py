"""`-` as a file name: a recording from standard input, a WAV file to standard output."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

PIPE = Path("-")
STDIN_STEM = "stdin"  # of results of a recording that has no name


class Pipes:
    """A context manager that replaces `-` by temporary files; inside, `inputs` and `out` are real paths.

    At the end, unless there was an error, the result is copied to standard output: not before, for a WAV
    header states the file's length. Raises ValueError for more than one input or result with `-o -`, and for
    `-` as an input if standard input is a terminal.
    """

    def __init__(self, inputs: Sequence[Path], out: Path, num_results: int) -> None:
        """out: folder of results or `-`. num_results: number of files that each input is separated into."""
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
            if sys.stdin.isatty():
                raise ValueError(
                    "- reads a recording from standard input: pipe one in, or name a file"
                )
            with self._stdin.open("wb") as file:
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

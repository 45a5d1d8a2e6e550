"""Standard output and standard error: closed from the start, with names that are not text, or left by their
reader."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

READER_LEFT = 141  # the exit code of programs that SIGPIPE ends: 128 + 13


def prepare_streams() -> None:
    """Let the command print whatever happens to its standard streams.

    One that is closed, as by `2>&-` or without a console, swallows what is printed. What is no text, as bytes
    in file names, is escaped. If the reader leaves, as `head` does, the command ends with READER_LEFT, after
    cleaning up and without a message.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
            if stream is getattr(sys, f"__{name}__"):  # not one that a caller put in its place
                setattr(sys, name, watched(stream))


def watched(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """Another stream on the same file or pipe that ends the command if its reader leaves; the stream itself
    if it is neither."""
    raw = getattr(stream.buffer, "raw", stream.buffer)  # itself where PYTHONUNBUFFERED is set
    if type(raw) is not io.FileIO:
        return stream
    stream.flush()
    file = Watched(raw.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(
        file if raw is stream.buffer else io.BufferedWriter(file),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class Watched(io.FileIO):
    """A file whose reader may leave: writing to it then ends the command. After any error writes go nowhere.

    SystemExit, unlike an error of one of several recordings, passes every place where these are caught.
    """

    def write(self, data: Any) -> int:
        """As of FileIO."""
        try:
            return super().write(data)
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())  # Python writes what is buffered once more as it exits
            os.close(nowhere)
            if isinstance(error, BrokenPipeError):
                sys.exit(READER_LEFT)
            raise

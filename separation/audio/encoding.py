"""Writing files by libsndfile so that no error of the disk is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import soundfile

from .sample_format import Waveform


class Sink:
    """A file for libsndfile, which reports failed writes vaguely, and those of its last bytes not at all.

    error: the first that occurred; Python ignores exceptions in calls from libsndfile.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.error: BaseException | None = None

    def write(self, data: Any) -> int:
        """Write bytes and return how many, 0 after an error."""
        try:
            return 0 if self.error else self.file.write(data)
        except BaseException as error:  # also a signal's
            self.error = error
            return 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """As a file's."""
        try:
            return self.file.seek(offset, whence)
        except BaseException as error:  # writes what is buffered
            self.error = self.error or error
            return 0

    def tell(self) -> int:
        """As a file's."""
        return self.file.tell()


@contextmanager
def encoding(path: Path, **settings: Any) -> Iterator[soundfile.SoundFile]:
    """A context with a new file open for writing. settings: of soundfile.SoundFile.

    Raises OSError if the disk cannot be written, soundfile.LibsndfileError for what libsndfile refuses.
    """
    with path.open("xb") as file:
        sink = Sink(file)
        try:
            with soundfile.SoundFile(sink, "w", **settings) as encoder:
                yield encoder
        finally:
            if sink.error:
                raise sink.error


def encode_file(
    path: Path, waveform: Waveform, sample_rate: int, subtype: str, container: str
) -> None:
    """Write a waveform (t,) or (t, c) in libsndfile's container and subtype; errors as `encoding`."""
    num_channels = 1 if waveform.ndim == 1 else waveform.shape[1]
    settings = {"samplerate": sample_rate, "channels": num_channels, "subtype": subtype}
    with encoding(path, format=container, **settings) as encoder:
        encoder.write(waveform)

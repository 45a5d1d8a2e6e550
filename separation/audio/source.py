"""The interface of decoders, and their errors as one-line messages."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .sample_format import Waveform

logger = logging.getLogger("qsep")

MIN_RATE, MAX_RATE = 1000, 768_000  # Hz
MAX_CHANNELS = 1024
NAN_CHOICES = ("refuse", "zero")


class AudioError(ValueError):
    """A recording that cannot be read or written; the message is one line with the file and the remedy."""


@dataclass(frozen=True)
class ReadOptions:
    """How a recording is read, where that is left to the user.

    nan: "refuse" a recording with NaN or infinite samples, or replace them by "zero". salvage: read what can
    be decoded of a damaged file. mono: replace the channels by their mean. What is replaced or lost is logged
    as a warning. Raises ValueError for another `nan`.
    """

    nan: str = "refuse"
    salvage: bool = False
    mono: bool = False

    def plain(self) -> dict[str, Any]:
        """The options that differ from the default, as plain values for JSON."""
        return {name: value for name, value in vars(self).items() if value != vars(AS_STORED)[name]}

    def __post_init__(self) -> None:
        if self.nan not in NAN_CHOICES:
            raise ValueError(f"nan is {self.nan!r}; expected {' or '.join(NAN_CHOICES)}")


AS_STORED = ReadOptions()


@dataclass
class NotFinite:
    """Counts NaN and infinite samples that were replaced. first, last: their sample numbers."""

    num: int = 0
    first: int = -1
    last: int = -1

    def add(self, where: NDArray[np.bool_], num_before: int) -> None:
        """where: (t, c), True for such samples, at least one; num_before: samples before this block."""
        times = np.flatnonzero(where.any(axis=1))
        self.first = num_before + int(times[0]) if self.first < 0 else self.first
        self.last = num_before + int(times[-1])
        self.num += int(where.sum())

    def complaint(self, sample_rate: int) -> str | None:
        """How many were replaced, and where; None if none were. sample_rate: in Hz."""
        if not self.num:
            return None
        first, last = self.first / sample_rate, self.last / sample_rate
        return (
            f"{self.num} NaN or infinite samples from {first:.3f} to {last:.3f} s were set to zero"
        )


class Source(Protocol):
    """One recording that is being decoded.

    sample_rate: in Hz. subtype: of a WAV file that holds the same values. claimed_samples: length by the
    header, or None.
    """

    sample_rate: int
    num_channels: int
    subtype: str
    claimed_samples: int | None

    def read(self, num_samples: int) -> Waveform:
        """The next samples, (t, c), t <= num_samples; t = 0 only at the end."""
        ...

    def skip(self, num_samples: int) -> bool:
        """Skip num_samples from the beginning; False if they have to be read instead."""
        ...

    def complaint(self, num_read: int) -> str | None:
        """After the end: why the file seems cut short or damaged, or None. num_read: samples read."""
        ...

    def close(self) -> None:
        """Free files and processes."""
        ...


@contextmanager
def named(path: Path) -> Iterator[None]:
    """A context that turns every exception, of any library, into an AudioError that names the file."""
    try:
        yield
    except AudioError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise AudioError(
            f"cannot read {path}: {reason}: check its permissions and its disk"
        ) from error
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")
        raise AudioError(
            f"{path} cannot be read ({type(error).__name__}{f': {reason}' if reason else ''}): "
            "check that it is a recording, or convert it to WAV or FLAC"
        ) from error


@contextmanager
def called(path: Path, name: str) -> Iterator[None]:
    """A context in which AudioErrors and warnings say `name` in place of `path`, a temporary file."""

    def rename(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if str(path) in text:
            record.msg, record.args = text.replace(str(path), name), ()
        return True

    logger.addFilter(rename)
    try:
        yield
    except AudioError as error:
        raise AudioError(str(error).replace(str(path), name)) from error
    finally:
        logger.removeFilter(rename)


def check_properties(path: Path, sample_rate: int, num_channels: int) -> None:
    """Raise AudioError for a sample rate in Hz or a number of channels that no recording has."""
    if not (MIN_RATE <= sample_rate <= MAX_RATE and 1 <= num_channels <= MAX_CHANNELS):
        raise AudioError(
            f"{path} claims {num_channels} channels at {sample_rate} Hz; expected 1 to "
            f"{MAX_CHANNELS} at {MIN_RATE} to {MAX_RATE} Hz: its header is damaged, export it again"
        )

"""What a way of decoding provides, and what its errors become."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from .sample_format import Waveform

MIN_RATE, MAX_RATE = 1000, 768_000  # Hz
MAX_CHANNELS = 1024


class AudioError(ValueError):
    """A recording that cannot be read or written: one line naming the file and the remedy."""


class Source(Protocol):
    """One recording that is being decoded. subtype: of a WAV file that holds the same values.
    claimed_samples: what its header says, or None."""

    sample_rate: int
    num_channels: int
    subtype: str
    claimed_samples: int | None

    def read(self, num_samples: int) -> Waveform:
        """The next samples, (t, c), at most so many; none only at the end."""
        ...

    def skip(self, num_samples: int) -> bool:
        """Go on so many samples later; False where only reading gets there."""
        ...

    def complaint(self, num_read: int) -> str | None:
        """After the end: why the file is thought to be cut short or damaged, or None."""
        ...

    def close(self) -> None: ...


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Whatever is raised within, by whichever library, as an AudioError that names the file."""
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


def check_properties(path: Path, sample_rate: int, num_channels: int) -> None:
    if not (MIN_RATE <= sample_rate <= MAX_RATE and 1 <= num_channels <= MAX_CHANNELS):
        raise AudioError(
            f"{path} claims {num_channels} channels at {sample_rate} Hz; expected 1 to "
            f"{MAX_CHANNELS} at {MIN_RATE} to {MAX_RATE} Hz: its header is damaged, export it again"
        )

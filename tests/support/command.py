"""Running the `qsep` command in tests."""

import contextlib
import logging
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from tiny import StubConfig, StubEncoder

from qsep.separation.storage.results import LISTING

STUB = StubEncoder(StubConfig(dim=384))  # in MiniLM's place


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that says what is wrong."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("qsep: error: ")
        return lines[0].removeprefix("qsep: error: ")


Run = Callable[..., Outcome]


@contextlib.contextmanager
def process_state_restored() -> Iterator[None]:
    handlers = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    level = logging.getLogger("qsep").level
    try:
        yield
    finally:
        logging.getLogger("qsep").setLevel(level)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def record(
    path: Path,
    num_samples: int = 3001,
    rate: int = 8000,
    num_channels: int = 1,
    subtype: str = "PCM_16",
) -> Path:
    waveform = np.random.default_rng(1).uniform(-0.7, 0.7, (num_samples, num_channels))
    soundfile.write(path, waveform, rate, subtype=subtype)
    return path


def names(folder: Path) -> set[str]:
    """Files below the folder, but for its listing."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != LISTING)
    return {str(path.relative_to(folder)) for path in files}


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in names(folder)}

"""Writing WAV files block by block; a file appears only when it is complete."""

import contextlib
import errno
import logging
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from ..storage.temporary import temporary_path, visit
from .sample_format import FLOAT_BITS, PCM_BITS, SUBTYPES, Waveform, encode, quantise, sample_dtype
from .source import AudioError

logger = logging.getLogger("qsep")

FREE_SPACE = "free space, or choose another folder"
REMEDIES = {errno.ENOSPC: FREE_SPACE, errno.EDQUOT: FREE_SPACE, errno.EFBIG: FREE_SPACE}
REMEDIES[errno.ENAMETOOLONG] = "give the recording or the folder a shorter name"
RIFF_LIMIT = 2**32 - 1  # bytes that the 32-bit sizes of a plain WAV file can state


class AudioWriter:
    """Writes (c, t) blocks to a WAV file; a context manager.

    The file has a temporary name in the same folder until the context ends without an error; otherwise it is
    removed. An existing file is replaced. Above 4 GiB the file becomes RF64. PCM clamps samples beyond full
    scale and logs a warning at the end.

    sample_rate: in Hz. subtype: see `sample_format`. commit: moves the finished file to its path, as
    `Results.commit`, which also lists it. peak, num_clipped, num_samples: of what was written so far.
    partial: a file to write instead, which stays where it is not committed. progress: continues that file,
    which an earlier writer had flushed with this `progress`.
    Raises AudioError if the file cannot be written, ValueError for an unknown subtype.
    """

    def __init__(
        self,
        path: str | Path,
        sample_rate: int,
        num_channels: int,
        subtype: str = "FLOAT",
        commit: Callable[[Path, Path], object] = os.replace,
        partial: Path | None = None,
        progress: Mapping[str, Any] | None = None,
    ) -> None:
        if subtype not in SUBTYPES:
            raise ValueError(f"expected a subtype of {', '.join(SUBTYPES)}, got {subtype!r}")
        self.path = Path(path)
        self.sample_rate, self.num_channels, self.subtype = sample_rate, num_channels, subtype
        self.num_samples = self.num_clipped = 0
        self.discarded = False  # then the file is removed at the end, as after an error
        self.peak = 0.0
        self._is_kept, self._continues = partial is not None, progress is not None
        self._temporary, self._commit = partial or temporary_path(self.path.parent), commit
        self._file: BinaryIO | None = None
        if progress is not None:
            self.num_samples, self.num_clipped = progress["num_samples"], progress["num_clipped"]
            self.peak = progress["peak"]

    def __enter__(self) -> "AudioWriter":
        with self._explained():
            if self.path.is_dir():
                raise AudioError(f"cannot write {self.path}: it is a folder: choose another name")
            if self.path.parent.is_dir():
                visit(self.path.parent)
            if self._continues:
                self._file = self._temporary.open("r+b")
                self._file.seek(0, os.SEEK_END)
                return self
            try:
                self._file = self._temporary.open("xb")
                self._file.write(self._header())
            except BaseException:  # a signal's too; no context ends after this
                self._temporary.unlink(missing_ok=True)
                raise
        return self

    def write(self, waveform: Waveform) -> None:
        """Append waveform (c, t), full scale at 1. Raises AudioError for NaN and infinite samples."""
        assert self._file is not None, "write inside a with statement"
        if waveform.ndim != 2 or waveform.shape[0] != self.num_channels:
            raise ValueError(f"expected ({self.num_channels}, t), got {waveform.shape}")
        with np.errstate(over="ignore"):  # overflows become infinite and are refused below
            samples = waveform.astype(sample_dtype(self.subtype), copy=False)
        if samples.size == 0:
            return
        finite = np.isfinite(samples).all(axis=0)
        if not finite.all():
            seconds = (self.num_samples + int(finite.argmin())) / self.sample_rate
            raise AudioError(
                f"cannot write {self.path}: the sound is NaN or infinite at {seconds:.3f} s: "
                "try another model or device"
            )
        magnitude = np.abs(samples)
        self.peak = max(self.peak, float(magnitude.max()))
        if self.subtype in PCM_BITS:
            self.num_clipped += int((magnitude > 1).sum())
        with self._explained():
            self._file.write(encode(quantise(samples, self.subtype), self.subtype))
        self.num_samples += samples.shape[1]

    def flush(self) -> dict[str, Any]:
        """Pass everything written to the system; return what `progress` needs to continue from here."""
        assert self._file is not None
        with self._explained():
            self._file.flush()
        return {
            "num_samples": self.num_samples,
            "num_clipped": self.num_clipped,
            "peak": self.peak,
        }

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._file is not None
        try:
            if kind is None and not self.discarded:
                with self._explained():
                    self._finish(self._file)
        finally:
            with contextlib.suppress(OSError):  # a full disk has been reported already
                self._file.close()
            if not (self._is_kept and (kind or self.discarded)):
                with contextlib.suppress(OSError):  # already moved if all went well
                    self._temporary.unlink()
        if kind is None and self.num_clipped and not self.discarded:
            logger.warning(
                "%s: %d samples beyond full scale were clipped (peak %.2f): "
                "a float file would keep them",
                *(self.path, self.num_clipped, self.peak),
            )

    def _finish(self, file: BinaryIO) -> None:
        if self._data_bytes() % 2:
            file.write(b"\0")  # chunks have even lengths
        file.seek(0)
        file.write(self._header())
        file.close()
        self._commit(self._temporary, self.path)

    def _data_bytes(self) -> int:
        return self.num_samples * self.num_channels * SUBTYPES[self.subtype] // 8

    def _header(self) -> bytes:
        """The header, of the same length for any number of samples."""
        return wav_header(self.sample_rate, self.num_channels, self.subtype, self.num_samples)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn an OSError into an AudioError that names the file."""
        try:
            yield
        except OSError as error:
            remedy = REMEDIES.get(error.errno or 0, "choose another folder")
            raise AudioError(f"cannot write {self.path}: {error.strerror}: {remedy}") from error


def wav_header(sample_rate: int, num_channels: int, subtype: str, num_samples: int | None) -> bytes:
    """All of a WAV file up to its samples. num_samples: in each channel; None, for a pipe: not stated.

    Of the same length for any number: a JUNK chunk reserves the space for the 64-bit sizes of RF64 (EBU Tech
    3306).
    """
    bits, is_float = SUBTYPES[subtype], subtype in FLOAT_BITS
    frame_bytes = num_channels * bits // 8
    stated, data_bytes = num_samples is not None, (num_samples or 0) * frame_bytes
    rates = (sample_rate, sample_rate * frame_bytes)
    code = 3 if is_float else 1
    fmt = struct.pack("<HHIIHH", code, num_channels, *rates, frame_bytes, bits)
    if is_float:
        fmt += struct.pack("<H", 0)  # no extension; floats also need a "fact" chunk
    riff_bytes = 4 + 36 + 8 + len(fmt) + 12 * is_float + 8 + data_bytes + data_bytes % 2
    large = riff_bytes > RIFF_LIMIT
    if large:
        sizes = b"ds64" + struct.pack("<IQQQI", 28, riff_bytes, data_bytes, num_samples, 0)
    else:
        sizes = b"JUNK" + struct.pack("<I28x", 28)
    unknown = large or not stated  # then every 32-bit size is the largest
    header = b"RF64" if large else b"RIFF"
    header += struct.pack("<I", RIFF_LIMIT if unknown else riff_bytes) + b"WAVE" + sizes
    header += b"fmt " + struct.pack("<I", len(fmt)) + fmt
    if is_float:
        header += b"fact" + struct.pack("<II", 4, RIFF_LIMIT if unknown else num_samples or 0)
    return header + b"data" + struct.pack("<I", RIFF_LIMIT if unknown else data_bytes)

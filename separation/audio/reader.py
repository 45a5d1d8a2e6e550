"""Reading recordings in blocks, for the whole package: by libsndfile, and by ffmpeg if it is installed.

Headers are checked against the bytes in the file: see `containers`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from . import ffmpeg
from .containers.content import Part
from .containers.survey import survey
from .salvage import SalvagingSource
from .sample_format import Waveform, sample_dtype
from .sndfile import BYTES_OF, RawSource, SndfileSource
from .source import AS_STORED, NotFinite, ReadOptions, Source, named
from .source import AudioError as AudioError

logger = logging.getLogger("qsep")

BLOCK_SAMPLES = 1 << 17  # read at once by those who separate
MAX_VALUES = 1 << 22  # samples times channels of a block


class AudioReader:
    """A recording of any length as (c, t) blocks, full scale at 1; use it as a context manager.

    Recordings joined in one file are read as one. sample_rate: in Hz. subtype: of a WAV file that holds the
    same values; PCM_16 for lossy formats. claimed_samples: length by the header, or None; it may be wrong
    and serves only progress bars. complaints: after reading, what is wrong with the file; also logged as a
    warning unless `quiet`. num_channels: of the blocks. options: what is changed in reading.
    Raises AudioError, in one line, for files that cannot be read.
    """

    def __init__(
        self, path: str | Path, quiet: bool = False, options: ReadOptions = AS_STORED
    ) -> None:
        self.path, self.quiet, self.options = Path(path), quiet, options
        self.complaints: list[str] = []
        with named(self.path):
            check_file(self.path)
            self._parts = parts_of(self.path)
            self._source = open_part(self.path, self._parts[0], options.salvage)
        self.sample_rate = self._source.sample_rate
        self._num_stored = self._source.num_channels
        self.num_channels = 1 if options.mono else self._num_stored
        self._not_finite = NotFinite()
        self.subtype = self._source.subtype
        has_one_part = len(self._parts) == 1
        self.claimed_samples = self._source.claimed_samples if has_one_part else None

    def blocks(self, block_samples: int, start: int = 0) -> Iterator[Waveform]:
        """Yield blocks (c, t), 1 <= t <= block_samples, from sample `start` on; once per reader.

        The type is sample_dtype(subtype): float32, or float64 if the file holds more bits, so that no value
        is rounded. Blocks of many channels are shorter. A file that ends early is read to its end, with a
        warning. Raises AudioError for a file without audio, damage, and NaN or infinite samples.
        """
        block_samples = max(1, min(block_samples, MAX_VALUES // self._num_stored))
        num_read = 0
        for part in self._parts:
            if part is not self._parts[0]:
                self.complaints += self._open_next(part, num_read)
            skipped = 0
            if num_read < start and self._source.skip(start - num_read):
                skipped = start - num_read
                num_read = start
            num_before = num_read - skipped
            for samples in self._samples(block_samples, num_read):
                num_read += len(samples)
                if num_read > start:
                    samples = samples[max(0, start - (num_read - len(samples))) :]
                    if self.options.mono:
                        samples = samples.mean(axis=1, dtype=np.float64, keepdims=True)
                    yield np.array(samples.T, dtype=sample_dtype(self.subtype), order="C")
            with named(self.path):
                complaint = self._source.complaint(num_read - num_before - skipped)
            if complaint := part.complaint or complaint:
                self.complaints.append(complaint)
        if zeroed := self._not_finite.complaint(self.sample_rate):
            self.complaints.append(zeroed)
        if num_read == 0:
            reason = f" ({self.complaints[0]})" if self.complaints else ""
            raise AudioError(f"{self.path} holds no audio{reason}: record or export it again")
        if self.complaints and not self.quiet:
            seconds = num_read / self.sample_rate
            complaints = "; ".join(dict.fromkeys(self.complaints))
            logger.warning("%s: %s; %.2f s of audio were read", self.path, complaints, seconds)

    def _samples(self, block_samples: int, num_before: int) -> Iterator[Waveform]:
        """Blocks (t, c) of the current part, all finite. num_before: samples of earlier parts."""
        while True:
            with named(self.path):
                samples = self._source.read(block_samples)
            if not len(samples):
                return
            finite = np.isfinite(samples)
            if not finite.all():
                if self.options.nan == "refuse":
                    seconds = (num_before + int(finite.all(axis=1).argmin())) / self.sample_rate
                    raise AudioError(
                        f"{self.path} holds a NaN or infinite sample at {seconds:.3f} s: "
                        "repair it, export it again, or separate it with --nan zero"
                    )
                self._not_finite.add(~finite, num_before)
                samples = np.where(finite, samples, 0)
            num_before += len(samples)
            yield samples

    def _open_next(self, part: Part, num_read: int) -> list[str]:
        """Open the next recording of the file, converted to the rate and channels of the first.

        num_read: samples so far, for messages. Returns complaints.
        """
        self.close()
        rate, channels = self.sample_rate, self._num_stored
        with named(self.path):
            self._source = open_part(self.path, part, self.options.salvage)
            if (self._source.sample_rate, self._source.num_channels) == (rate, channels):
                return []
            change = (
                f"changes to {self._source.num_channels} channels at {self._source.sample_rate} Hz "
                f"after {num_read / rate:.2f} s"
            )
            if not ffmpeg.is_installed():
                raise AudioError(
                    f"{self.path} {change}: {ffmpeg.INSTALL_FFMPEG}, or split it there"
                )
            self._source.close()
            self._source = ffmpeg.FfmpegSource(self.path, part, rate, channels)
        return [f"it {change}, which was converted"]

    def read(self) -> Waveform:
        """The whole recording, (c, t); raises as `blocks` does."""
        return np.concatenate(list(self.blocks(1 << 16)), axis=1)

    def close(self) -> None:
        """Close the file, or end ffmpeg."""
        self._source.close()

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_file(path: Path) -> None:
    """Raise AudioError unless the path is a regular file of at least one byte."""
    if not path.exists():
        raise AudioError(f"{path} does not exist: check the name")
    if path.is_dir():
        raise AudioError(f"{path} is a folder: name the recordings in it")
    if not path.is_file():
        raise AudioError(f"{path} is not a regular file: save the audio to a file first")
    if path.stat().st_size == 0:
        raise AudioError(f"{path} is empty (0 bytes): record or copy it again")


def parts_of(path: Path) -> tuple[Part, ...]:
    """The recordings in a file, remembered until its size or time of change differs."""
    state = os.stat(path)
    return _cached_survey(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)  # training reads segments of the same recordings many times
def _cached_survey(path: Path, size: int, modified_ns: int) -> tuple[Part, ...]:
    return survey(path)


def open_part(path: Path, part: Part, salvage: bool = False) -> Source:
    """A decoder for one recording, chosen by content and not by the file's extension.

    salvage: whether it reads on after damage, as ffmpeg always does. Raises AudioError if no decoder reads
    it.
    """
    if part.noisy and ffmpeg.is_installed():  # ffmpeg's messages are caught, libmpg123's are not
        try:
            return ffmpeg.FfmpegSource(path, part)
        except AudioError:
            pass
    try:
        source = SndfileSource(path, part)
    except (AudioError, OSError):
        raise
    except Exception as error:
        if ffmpeg.is_installed():
            return ffmpeg.FfmpegSource(path, part)
        raise AudioError(
            f"{path} is not audio that libsndfile reads: {ffmpeg.INSTALL_FFMPEG} "
            "for more formats, or convert it to WAV or FLAC"
        ) from error
    if part.raw_offset is not None and source.stored_subtype in BYTES_OF:
        source.close()
        return RawSource(path, part, source)
    return SalvagingSource(path, part, source) if salvage else source


def read_from(path: Path, first: int, num_samples: int) -> Waveform:
    """At most num_samples from sample `first` on, (c, t); (c, 0) if the recording ends before.

    Raises as `AudioReader` does.
    """
    with AudioReader(path) as reader:
        pieces, num_read = [], 0
        for block in reader.blocks(min(num_samples, 1 << 16), first):
            pieces.append(block[:, : num_samples - num_read])
            num_read += pieces[-1].shape[1]
            if num_read == num_samples:
                break
        empty = np.zeros((reader.num_channels, 0), np.float32)
    return np.concatenate(pieces or [empty], axis=1)


def length_and_rate(path: Path) -> tuple[int, int]:
    """Length in samples and sample rate in Hz.

    The length is the header's claim; a file of several recordings is read to count its samples.
    """
    with AudioReader(path) as reader:
        if reader.claimed_samples is not None:
            return reader.claimed_samples, reader.sample_rate
        return sum(block.shape[1] for block in reader.blocks(1 << 16)), reader.sample_rate


def read_mono(
    path: Path, sample_rate: int, max_seconds: float | None = None
) -> NDArray[np.float32]:
    """The mean of a recording's channels, resampled to sample_rate in Hz: (t,), float32, t >= 1.

    max_seconds: read at most this much from the beginning. Raises as `AudioReader` does.
    """
    import soxr

    with AudioReader(path) as reader:
        max_samples = (
            None if max_seconds is None else max(1, round(max_seconds * reader.sample_rate))
        )
        pieces, num_read = [], 0
        for block in reader.blocks(1 << 16):
            pieces.append(block.mean(axis=0, dtype=np.float64).astype(np.float32))
            num_read += block.shape[1]
            if max_samples is not None and num_read >= max_samples:
                break
        rate = reader.sample_rate
    mono = np.concatenate(pieces)[:max_samples]
    if rate == sample_rate:
        return mono
    resampled: NDArray[np.float32] = soxr.resample(mono, rate, sample_rate, quality="HQ")
    return resampled if len(resampled) else mono[:1]  # soxr may round one sample down to none

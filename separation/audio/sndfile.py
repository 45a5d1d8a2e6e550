"""Decoding by libsndfile, and reading of uncompressed samples whose header claims too few."""

from __future__ import annotations

import os
import re
import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from .containers.content import CUT_SHORT, LONGER, STREAMED_BYTES, Part
from .mpg123 import without_messages
from .sample_format import SUBTYPES, Waveform, sample_dtype
from .source import AudioError, check_properties

# The subtype of a WAV file that holds the same values. Everything else that libsndfile decodes is
# lossy (or 8-bit telephony, decoded to 16): PCM_16, because its step lies 98 dB under full scale
# and so below the codec's own error, every player reads it, and floats would double the size.
EQUAL_SUBTYPES = {name: name for name in SUBTYPES} | {
    "PCM_S8": "PCM_U8",
    "ALAC_20": "PCM_24",
    "ALAC_24": "PCM_24",
    "ALAC_32": "PCM_32",
    "DWVW_24": "PCM_24",
}
BYTES_OF = {
    "PCM_S8": 1,
    "PCM_U8": 1,
    "PCM_16": 2,
    "PCM_24": 3,
    "PCM_32": 4,
    "FLOAT": 4,
    "DOUBLE": 8,
}
READ_AHEAD = 1 << 16  # bytes that a decoder may leave unread at the end
UNKNOWN_FRAMES = 2**62  # libsndfile's counts from here on mean "not known"


class SndfileSource:
    """WAV, FLAC, Ogg, MP3, AIFF and others, decoded by libsndfile; see `Source`.

    stored_subtype: libsndfile's name of the file's own format. Raises soundfile.SoundFileError for what
    libsndfile does not read, AudioError for a rate or number of channels that is out of range.
    """

    def __init__(self, path: Path, part: Part) -> None:
        self.path, self.part = path, part
        # Not opened by name, since text called .mp3 would be decoded as MP3. And by file descriptor, since
        # libsndfile's calls into a Python file swallow exceptions of signal handlers (Ctrl-C).
        self._raw: BinaryIO = path.open("rb")
        try:
            if (part.start, part.stop) != (0, os.fstat(self._raw.fileno()).st_size):
                whole, self._raw = self._raw, cut_out(self._raw, part)
                whole.close()
            with self._decoding():
                self._file = soundfile.SoundFile(self._raw.fileno(), closefd=False)
        except BaseException:
            self._raw.close()
            raise
        self.sample_rate: int = self._file.samplerate
        self.num_channels: int = self._file.channels
        self.stored_subtype: str = self._file.subtype
        self.subtype = EQUAL_SUBTYPES.get(self._file.subtype, "PCM_16")
        frames: int = self._file.frames
        self.claimed_samples = frames if 0 <= frames < UNKNOWN_FRAMES else None
        self._num_skipped = 0
        try:
            check_properties(path, self.sample_rate, self.num_channels)
        except AudioError:
            self.close()
            raise

    def _decoding(self) -> AbstractContextManager[None]:
        """A context for calls that decode, without what libmpg123 prints."""
        return without_messages() if self.part.mpeg else nullcontext()

    def read(self, num_samples: int) -> Waveform:
        """As `Source.read`; AudioError for damaged data."""
        samples, error = self.read_to_damage(num_samples)
        if error:
            seconds = max(self._file.tell(), 0) / self.sample_rate  # -1 if the position is unknown
            raise AudioError(
                f"{self.path} is damaged after {seconds:.1f} s: copy it again, save what is left with "
                f"ffmpeg -i {self.path.name} repaired.wav, or separate it with --salvage"
            ) from error
        return samples

    def read_to_damage(self, num_samples: int) -> tuple[Waveform, Exception | None]:
        """The next samples (t, c), t <= num_samples, and the error that ended them early, or None."""
        samples = np.empty((num_samples, self.num_channels), sample_dtype(self.subtype))
        before = self._file.tell()
        try:
            with self._decoding():
                return self._file.read(out=samples), None
        except soundfile.SoundFileError as error:
            return samples[: max(self._file.tell() - before, 0)], error

    def skip(self, num_samples: int) -> bool:
        """As `Source.skip`."""
        if self.claimed_samples is None or num_samples > self.claimed_samples:
            return False
        try:
            with self._decoding():
                self._file.seek(num_samples)
        except (soundfile.SoundFileError, RuntimeError):
            return False
        self._num_skipped = num_samples
        return True

    def complaint(self, num_read: int) -> str | None:
        """As `Source.complaint`."""
        claim = re.search(r"(?:data|SSND) *: (\d+) \(should be (\d+)\)", self._file.extra_info)
        cut_short = claim and int(claim[2]) < int(claim[1]) < STREAMED_BYTES
        num_read += self._num_skipped
        if cut_short or (self.claimed_samples is not None and num_read < self.claimed_samples):
            return CUT_SHORT
        if self.part.complaint == LONGER:
            return "its header says less than it holds, and the rest could not be read"
        number = self._raw.fileno()
        left = os.fstat(number).st_size - os.lseek(number, 0, os.SEEK_CUR)
        if self._file.format == "FLAC" and left > READ_AHEAD:
            return f"its header says less than it holds; {left} bytes are left over"
        return None

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._raw.close()


def cut_out(file: BinaryIO, part: Part) -> BinaryIO:
    """The part's bytes as an anonymous temporary file."""
    copy = tempfile.TemporaryFile()
    file.seek(part.start)
    left = part.stop - part.start
    while left and (block := file.read(min(left, 1 << 20))):
        copy.write(block)
        left -= len(block)
    copy.seek(0)
    return copy


class RawSource:
    """Uncompressed samples from raw_offset to the part's end, in the format of `header`; see `Source`."""

    def __init__(self, path: Path, part: Part, header: SndfileSource) -> None:
        assert part.raw_offset is not None
        self.path, self.part = path, part
        self.sample_rate, self.num_channels = header.sample_rate, header.num_channels
        self.subtype = header.subtype
        self._stored = header.stored_subtype
        self._frame_bytes = BYTES_OF[self._stored] * self.num_channels
        self.claimed_samples: int | None = (part.stop - part.raw_offset) // self._frame_bytes
        self._file = path.open("rb")
        self._file.seek(part.raw_offset)
        self._left = self.claimed_samples or 0

    def read(self, num_samples: int) -> Waveform:
        """As `Source.read`."""
        data = self._file.read(min(num_samples, self._left) * self._frame_bytes)
        data = data[: len(data) // self._frame_bytes * self._frame_bytes]
        samples = decoded(data, self._stored, self.part.big_endian, sample_dtype(self.subtype))
        self._left -= len(samples) // self.num_channels
        return samples.reshape(-1, self.num_channels)

    def skip(self, num_samples: int) -> bool:
        """As `Source.skip`."""
        if num_samples > self._left:
            return False
        self._file.seek(num_samples * self._frame_bytes, os.SEEK_CUR)
        self._left -= num_samples
        return True

    def complaint(self, num_read: int) -> str | None:
        """None: `Part.complaint` already says that the header is wrong."""
        return None

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def decoded(data: bytes, subtype: str, big_endian: bool, dtype: np.dtype[np.floating]) -> Waveform:
    """Stored samples as floats (values,), full scale at 1, scaled exactly as libsndfile does."""
    order = ">" if big_endian else "<"
    if subtype in ("FLOAT", "DOUBLE"):
        return np.frombuffer(data, f"{order}f{BYTES_OF[subtype]}").astype(dtype)
    if subtype == "PCM_U8":
        return (np.frombuffer(data, np.uint8).astype(dtype) - 128) / 128
    if subtype == "PCM_24":  # as the upper three bytes of an int32
        padded = np.zeros((len(data) // 3, 4), np.uint8)
        padded[:, slice(0, 3) if big_endian else slice(1, 4)] = np.frombuffer(
            data, np.uint8
        ).reshape(-1, 3)
        return padded.view(f"{order}i4")[:, 0].astype(dtype) / dtype.type(2.0**31)
    num_bytes = BYTES_OF[subtype]
    integers = np.frombuffer(data, f"{order}i{num_bytes}")
    return integers.astype(dtype) / dtype.type(2.0 ** (8 * num_bytes - 1))

"""A file's bytes by position, and the recordings found in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

STREAMED_BYTES = 0x7FFFF000  # 32-bit sizes from here on mean "not known yet", as written to a pipe
CUT_SHORT = "the file ends earlier than its header says"
LONGER = "the header says less than the file holds, so it was read to its end"


@dataclass(frozen=True)
class Part:
    """One recording: bytes start to stop of the file.

    raw_offset: first byte of uncompressed samples that continue to `stop` although the header claims less;
    otherwise None. big_endian: byte order of those samples. complaint: why the recording seems cut short or
    damaged, or None. noisy: whether decoders are likely to print warnings about it. mpeg: whether it is MPEG
    audio, as MP3.
    """

    start: int
    stop: int
    raw_offset: int | None = None
    complaint: str | None = None
    noisy: bool = False
    mpeg: bool = False
    big_endian: bool = False


class Content:
    """A file's bytes by position, read in windows.

    Not memory-mapped, since a read error of the medium would then end the process. Slices stop at the end of
    the file; a single byte or a number past it raises IndexError.
    """

    WINDOW = 1 << 18

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.size = file.seek(0, 2)
        self.start, self.window = 0, b""

    def __len__(self) -> int:
        return self.size

    def get(self, position: int, num_bytes: int) -> bytes:
        """At most num_bytes from `position`, fewer at the end of the file."""
        begin = position - self.start
        if not 0 <= begin <= len(self.window) - num_bytes:
            self.file.seek(position)
            self.start, begin = position, 0
            self.window = self.file.read(max(num_bytes, self.WINDOW))
        return self.window[begin : begin + num_bytes]

    def byte(self, position: int) -> int:
        """The byte at `position`; IndexError past the end."""
        return self.get(position, 1)[0]

    def number(self, position: int, num_bytes: int, big_endian: bool = True) -> int:
        """The unsigned integer at `position`; IndexError if it reaches past the end."""
        stored = self.get(position, num_bytes)
        if len(stored) < num_bytes:
            raise IndexError("past the end of the file")
        return int.from_bytes(stored, "big" if big_endian else "little")

    def find(self, pattern: bytes, position: int, end: int | None = None) -> int:
        """The first place in [position, end) where the pattern begins; -1 if there is none."""
        end = self.size if end is None else min(end, self.size)
        step, overlap = self.WINDOW, len(pattern) - 1
        while position < end:
            offset = self.get(position, min(step, end - position) + overlap).find(pattern)
            if offset >= 0:
                return position + offset if position + offset < end else -1
            position += step
        return -1


def split_at(content: Content, signatures: tuple[bytes, ...]) -> Iterator[Part]:
    """Parts that begin at the file's start and at each further occurrence of a signature."""
    starts = [0]
    for signature in signatures:
        position = 1
        while (position := content.find(signature, position)) >= 0:
            starts.append(position)
            position += 1
    starts.sort()
    for start, stop in zip(starts, [*starts[1:], len(content)], strict=True):
        yield Part(start, stop)


def is_tag(content: Content, position: int) -> bool:
    """Whether an ID3v1, APE or Lyrics3 tag begins there; these follow the audio."""
    head = content.get(position, 11)
    return head[:3] == b"TAG" or head[:8] == b"APETAGEX" or head == b"LYRICSBEGIN"

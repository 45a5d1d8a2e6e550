"""Formats of named, sized chunks: WAV, RF64, AIFF, Wave64 and CAF; and AU, which has a single one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from .content import CUT_SHORT, LONGER, STREAMED_BYTES, Content, Part, is_tag

W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
W64_DATA = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")
MAX_PADDING_BYTES = 4096  # zeros after the last chunk, up to a block of the medium


@dataclass(frozen=True)
class Chunks:
    """Layout of a format's chunks.

    begins: names of the chunk that begins a recording. data: name of the chunk of samples. first: bytes
    before the first chunk inside a recording. name_bytes, size_bytes, big_endian: layout of a chunk's
    header. padding: chunks are padded to multiples of it. own_header: bytes of the header that are counted
    in the size. lead: bytes of the data chunk before the samples. samples_big_endian: byte order of the
    samples, from the content and the position of the data.
    """

    begins: tuple[bytes, ...]
    data: bytes
    first: int
    name_bytes: int = 4
    size_bytes: int = 4
    big_endian: bool = False
    padding: int = 2
    own_header: int = 0
    lead: int = 0
    samples_big_endian: Callable[[Content, int], bool] | None = None

    def header(self, content: Content, position: int) -> tuple[bytes, int, int]:
        """A chunk's name, the size of its body and where that begins; IndexError past the end."""
        begin = position + self.name_bytes
        size = content.number(begin, self.size_bytes, self.big_endian)
        return (
            content.get(position, self.name_bytes),
            size - self.own_header,
            begin + self.size_bytes,
        )

    def is_plausible(self, name: bytes) -> bool:
        """Whether the first four bytes are printable, as those of every chunk's name."""
        return all(32 <= byte < 127 for byte in name[:4])


def chunk_parts(
    content: Content, chunks: Chunks, wide: Callable[[int], int | None] | None = None
) -> Iterator[Part]:
    """The recordings of a file.

    wide: returns the data size of the recording that begins at a position if it is stored in 64 bits apart
    from the chunk's header (RF64), otherwise None.
    """
    start, size = 0, len(content)
    while start < size:
        part, following = chunked_recording(content, chunks, start, wide)
        yield part
        start = following


def chunked_recording(
    content: Content, chunks: Chunks, start: int, wide: Callable[[int], int | None] | None
) -> tuple[Part, int]:
    """The recording that begins at `start`, and the position of the next one or of the file's end."""
    size, position = len(content), start + chunks.first
    part: Part | None = None
    while position + chunks.name_bytes + chunks.size_bytes <= size:
        name, body, begin = chunks.header(content, position)
        if name in chunks.begins and position > start:
            return replace(part or Part(start, position), stop=position), position
        if name == chunks.data and part is None:
            wide_body = wide(start) if wide else None
            body = wide_body if wide_body is not None else body
            part = data_part(content, chunks, start, begin, body)
            if part.raw_offset is not None or begin + body >= size:
                return part, size
        elif not chunks.is_plausible(name) or body < 0:
            break  # padding or a tag follows, not a chunk
        position = next_chunk(content, chunks, begin + body, -body % chunks.padding)
    return part or Part(start, size), size


def data_part(content: Content, chunks: Chunks, start: int, begin: int, body: int) -> Part:
    """The recording at `start`, judged by its data chunk: samples at `begin`, `body` bytes by the header."""
    size = len(content)
    overflows = body >= STREAMED_BYTES and begin + body > size and chunks.size_bytes == 4
    if overflows or body < 0 or body >= 2**63:  # written to a pipe, or CAF's -1 for "to the end"
        return Part(start, size)  # decoders read to the end of the file
    after = next_chunk(content, chunks, begin + body, -body % chunks.padding)
    if begin + body <= size and follows_chunk(content, chunks, after):
        return Part(start, size)
    order = chunks.samples_big_endian(content, begin) if chunks.samples_big_endian else False
    # Of a file that was cut, libsndfile may leave out whole samples before the cut.
    complaint = CUT_SHORT if begin + body > size else LONGER
    return Part(start, size, begin + chunks.lead, complaint, big_endian=order)


def next_chunk(content: Content, chunks: Chunks, end: int, padding: int) -> int:
    """Where the next chunk begins after one that ends at `end`: some programs omit the padding."""
    padded = end + padding
    omitted = not follows_chunk(content, chunks, padded) and follows_chunk(content, chunks, end)
    return end if padding and omitted else padded


def follows_chunk(content: Content, chunks: Chunks, position: int) -> bool:
    """Whether the file ends there or continues with a chunk, another recording or a tag."""
    left = len(content) - position
    if left < chunks.name_bytes + chunks.size_bytes:
        return True
    if is_tag(content, position) or content.get(position, 3) == b"ID3":
        return True
    name, body, begin = chunks.header(content, position)
    if name in chunks.begins:
        return True
    if not chunks.is_plausible(name) or body < 0:
        return left < MAX_PADDING_BYTES and not any(content.get(position, left))
    return begin + body <= len(content)


RIFF = Chunks((b"RIFF", b"RIFX", b"RF64", b"BW64"), b"data", 12)


def wav_parts(content: Content) -> Iterator[Part]:
    """Recordings of a WAV file: RIFF, RIFX (big-endian), RF64 or BW64 (EBU Tech 3306)."""

    def wide(start: int) -> int | None:
        is_wide = content.get(start, 4) in (b"RF64", b"BW64")
        if is_wide and content.get(start + 12, 4) == b"ds64":
            return content.number(start + 28, 8, big_endian=False)
        return None

    big_endian = content.get(0, 4) == b"RIFX"
    chunks = replace(RIFF, big_endian=big_endian, samples_big_endian=lambda *_: big_endian)
    return chunk_parts(content, chunks, wide)


def aiff_parts(content: Content) -> Iterator[Part]:
    """Recordings of an AIFF or AIFF-C file."""

    def order(content: Content, begin: int) -> bool:
        return content.find(b"sowt", 0, begin) < 0  # little-endian AIFF-C

    chunks = Chunks((b"FORM",), b"SSND", 12, big_endian=True, lead=8, samples_big_endian=order)
    return chunk_parts(content, chunks)


def w64_parts(content: Content) -> Iterator[Part]:
    """Recordings of a Sony Wave64 file, whose names are GUIDs and whose sizes have 64 bits."""
    chunks = Chunks((W64_RIFF,), W64_DATA, 40, 16, 8, padding=8, own_header=24)
    return chunk_parts(content, chunks)


def caf_parts(content: Content) -> Iterator[Part]:
    """Recordings of an Apple Core Audio file."""

    def order(content: Content, begin: int) -> bool:
        position = content.find(b"lpcm", 0, begin)
        return position < 0 or not content.number(position + 4, 4) & 2

    chunks = Chunks((b"caff",), b"data", 8, 4, 8, True, 1, lead=4, samples_big_endian=order)
    return chunk_parts(content, chunks)


def au_parts(content: Content) -> Iterator[Part]:
    """Recordings of a Sun AU file, whose header gives the offset and the size of the samples."""
    big_endian = content.get(0, 4) == b".snd"
    start = 0
    while True:
        begin = start + content.number(start + 4, 4, big_endian)
        claimed_bytes = content.number(start + 8, 4, big_endian)
        stop = begin + claimed_bytes
        if claimed_bytes == 0xFFFFFFFF:
            yield Part(start, len(content))
        elif stop > len(content):
            yield Part(start, len(content), complaint=CUT_SHORT)
        elif content.get(stop, 4) == content.get(0, 4):
            yield Part(start, stop)
            start = stop
            continue
        elif len(content) - stop < 8:
            yield Part(start, len(content))
        else:
            yield Part(start, len(content), begin, LONGER, big_endian=big_endian)
        return

"""Where the recordings in a file begin and end, found out from its bytes: headers are only claims.

Files joined end to end hold several recordings. Recorders that lost power, programs that write to a pipe,
and sizes of 32 bits that wrapped around leave headers that say less than there is; broken downloads leave
headers that say more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

STREAMED_BYTES = 0x7FFFF000  # sizes from here on mean "not known yet", as written to a pipe
CUT_SHORT = "the file ends earlier than its header says"
LONGER = "the header says less than the file holds, so it was read to its end"
W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
W64_DATA = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")
ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
FLAC = (
    b"fLaC\x00\x00\x00\x22",
    b"fLaC\x80\x00\x00\x22",
)  # and its first block: 34 bytes of STREAMINFO
XING_FRAMES, LONGEST_GARBAGE = 1, 1 << 20


@dataclass(frozen=True)
class Part:
    """One recording: bytes start to stop of the file. raw_offset: where its samples begin if they are
    to be read up to `stop`, whatever its header says, the larger byte of a number first if big_endian.
    complaint: why it is thought to be cut short or damaged. noisy: decoders will stumble over it."""

    start: int
    stop: int
    raw_offset: int | None = None
    complaint: str | None = None
    noisy: bool = False
    big_endian: bool = False


class Content:
    """A file's bytes by position, read in windows: a file mapped into memory would end the process where
    its medium fails. Slices end where the file does; a single byte past the end is an IndexError."""

    WINDOW = 1 << 18

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.size = file.seek(0, 2)
        self.start, self.window = 0, b""

    def __len__(self) -> int:
        return self.size

    def get(self, position: int, num_bytes: int) -> bytes:
        begin = position - self.start
        if not 0 <= begin <= len(self.window) - num_bytes:
            self.file.seek(position)
            self.start, begin = position, 0
            self.window = self.file.read(max(num_bytes, self.WINDOW))
        return self.window[begin : begin + num_bytes]

    def byte(self, position: int) -> int:
        return self.get(position, 1)[0]

    def number(self, position: int, num_bytes: int, big_endian: bool = True) -> int:
        taken = self.get(position, num_bytes)
        if len(taken) < num_bytes:
            raise IndexError("past the end of the file")
        return int.from_bytes(taken, "big" if big_endian else "little")

    def find(self, wanted: bytes, position: int, end: int | None = None) -> int:
        """Where it begins, at `position` or later and before `end`; -1 if nowhere."""
        end = self.size if end is None else min(end, self.size)
        step, overlap = self.WINDOW, len(wanted) - 1
        while position < end:
            found = self.get(position, min(step, end - position) + overlap).find(wanted)
            if found >= 0:
                return position + found if position + found < end else -1
            position += step
        return -1


def survey(path: Path) -> tuple[Part, ...]:
    """The recordings in a file of at least one byte; one part, the whole, where nothing is known."""
    with path.open("rb") as file:
        content = Content(file)
        surveyor = surveyor_of(content)
        try:
            found = tuple(surveyor(content)) if surveyor else ()
        except (IndexError, ValueError):  # it is not what its beginning says
            found = ()
        return found or (Part(0, len(content)),)


def surveyor_of(content: Content) -> Callable[[Content], Iterator[Part]] | None:
    head = content.get(0, 16)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return wav_parts
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return aiff_parts
    if head == W64_RIFF:
        return w64_parts
    if head[:4] == b"caff":
        return caf_parts
    if head[:4] in (b".snd", b"dns."):
        return au_parts
    if head[:4] == b"OggS":
        return ogg_parts
    if head[4:8] == b"ftyp":
        return mp4_parts
    if head[:4] == b"fLaC":
        return lambda content: split_at(content, FLAC)
    if head == ASF:
        return lambda content: split_at(content, (ASF,))
    if head[:3] == b"ID3" or frame_bytes(content, 0):
        return mp3_parts
    return None


def split_at(content: Content, beginnings: tuple[bytes, ...]) -> Iterator[Part]:
    starts = [0]
    for beginning in beginnings:
        position = 1
        while (position := content.find(beginning, position)) >= 0:
            starts.append(position)
            position += 1
    starts.sort()
    for start, stop in zip(starts, [*starts[1:], len(content)], strict=True):
        yield Part(start, stop)


# Formats of chunks, each with its size: WAV and RF64, AIFF, Wave64, CAF, and AU, which has one.


@dataclass(frozen=True)
class Chunks:
    """How a format writes its chunks: name_bytes and size_bytes of a chunk's header, big_endian, sizes
    multiples of `padding`, and header_bytes counted in the size."""

    begins: tuple[bytes, ...]
    data: bytes
    first: int
    name_bytes: int = 4
    size_bytes: int = 4
    big_endian: bool = False
    padding: int = 2
    own_header: int = 0
    lead: int = 0  # bytes of the data chunk before the samples
    samples_big_endian: Callable[[Content, int], bool] | None = None  # given where the data begin

    def header(self, content: Content, position: int) -> tuple[bytes, int, int]:
        """Name, size of the body, where that begins; IndexError past the end."""
        begin = position + self.name_bytes
        size = content.number(begin, self.size_bytes, self.big_endian)
        return (
            content.get(position, self.name_bytes),
            size - self.own_header,
            begin + self.size_bytes,
        )

    def is_plausible(self, name: bytes) -> bool:
        return all(32 <= byte < 127 for byte in name[:4])


def chunk_parts(
    content: Content, chunks: Chunks, wide: Callable[[int], int | None] | None = None
) -> Iterator[Part]:
    """wide: given where a recording begins, the size of its data where 64 bits are kept apart."""
    start, size = 0, len(content)
    while start < size:
        part, following = chunked_recording(content, chunks, start, wide)
        yield part
        start = following


def chunked_recording(
    content: Content, chunks: Chunks, start: int, wide: Callable[[int], int | None] | None
) -> tuple[Part, int]:
    """The recording that begins at `start`, and where the next one does, or the end."""
    size, position = len(content), start + chunks.first
    part: Part | None = None
    while position + chunks.name_bytes + chunks.size_bytes <= size:
        name, body, begin = chunks.header(content, position)
        if name in chunks.begins and position > start:
            return replace(part or Part(start, position), stop=position), position
        if name == chunks.data and part is None:
            large = wide(start) if wide else None
            body = large if large is not None else body
            part = data_part(content, chunks, start, begin, body)
            if part.raw_offset is not None or begin + body >= size:
                return part, size
        elif not chunks.is_plausible(name) or body < 0:
            break  # what follows is no chunk: padding, or a tag
        position = next_chunk(content, chunks, begin + body, -body % chunks.padding)
    return part or Part(start, size), size


def data_part(content: Content, chunks: Chunks, start: int, begin: int, body: int) -> Part:
    """The samples' chunk against the bytes that are there."""
    size = len(content)
    unknown = (
        body >= STREAMED_BYTES and begin + body > size and chunks.size_bytes == 4
    ) or body < 0
    if unknown:
        return Part(start, size)  # written to a pipe: decoders read to the end
    if body >= 2**63:  # CAF: -1 stands for "to the end"
        return Part(start, size)
    if begin + body > size:
        return Part(start, size, complaint=CUT_SHORT)
    after = next_chunk(content, chunks, begin + body, -body % chunks.padding)
    if follows_chunk(content, chunks, after):
        return Part(start, size)
    order = chunks.samples_big_endian(content, begin) if chunks.samples_big_endian else False
    return Part(start, size, begin + chunks.lead, LONGER, big_endian=order)


def next_chunk(content: Content, chunks: Chunks, end: int, padding: int) -> int:
    """Where the chunk after one that ends there begins: some programs leave the padding out."""
    padded = end + padding
    forgotten = not follows_chunk(content, chunks, padded) and follows_chunk(content, chunks, end)
    return end if padding and forgotten else padded


def follows_chunk(content: Content, chunks: Chunks, position: int) -> bool:
    """Whether the file ends here, or goes on with a chunk, another recording or a tag."""
    left = len(content) - position
    if left < chunks.name_bytes + chunks.size_bytes:
        return True
    if is_tag(content, position) or content.get(position, 3) == b"ID3":
        return True
    name, body, begin = chunks.header(content, position)
    if name in chunks.begins:
        return True
    if not chunks.is_plausible(name) or body < 0:
        return left < 4096 and not any(
            content.get(position, left)
        )  # padding to a block of the medium
    return begin + body <= len(content)


RIFF = Chunks((b"RIFF", b"RIFX", b"RF64", b"BW64"), b"data", 12)


def wav_parts(content: Content) -> Iterator[Part]:
    def wide(start: int) -> int | None:
        is_wide = content.get(start, 4) in (b"RF64", b"BW64")
        if is_wide and content.get(start + 12, 4) == b"ds64":
            return content.number(start + 28, 8, big_endian=False)
        return None

    big_endian = content.get(0, 4) == b"RIFX"
    chunks = replace(RIFF, big_endian=big_endian, samples_big_endian=lambda *_: big_endian)
    return chunk_parts(content, chunks, wide)


def aiff_parts(content: Content) -> Iterator[Part]:
    def order(content: Content, begin: int) -> bool:
        return content.find(b"sowt", 0, begin) < 0  # little-endian AIFF-C

    chunks = Chunks((b"FORM",), b"SSND", 12, big_endian=True, lead=8, samples_big_endian=order)
    return chunk_parts(content, chunks)


def w64_parts(content: Content) -> Iterator[Part]:
    chunks = Chunks((W64_RIFF,), W64_DATA, 40, 16, 8, padding=8, own_header=24)
    return chunk_parts(content, chunks)


def caf_parts(content: Content) -> Iterator[Part]:
    def order(content: Content, begin: int) -> bool:
        position = content.find(b"lpcm", 0, begin)
        return position < 0 or not content.number(position + 4, 4) & 2

    chunks = Chunks((b"caff",), b"data", 8, 4, 8, True, 1, lead=4, samples_big_endian=order)
    return chunk_parts(content, chunks)


def au_parts(content: Content) -> Iterator[Part]:
    big_endian = content.get(0, 4) == b".snd"
    start = 0
    while True:
        begin = start + content.number(start + 4, 4, big_endian)
        claimed = content.number(start + 8, 4, big_endian)
        stop = begin + claimed
        if claimed == 0xFFFFFFFF:
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


# Formats of pages, boxes and frames: Ogg, MP4, MP3.


def ogg_parts(content: Content) -> Iterator[Part]:
    """Links of a chain: after pages of sound, a page that begins a stream begins the next recording."""
    start = position = 0
    began, ended, damaged = True, False, False
    size = len(content)
    while position < size:
        if content.get(position, 4) != b"OggS":
            found = content.find(b"OggS", position)
            damaged, ended = True, False
            position = size if found < 0 else found
            continue
        num_segments = content.byte(position + 26) if position + 27 <= size else 0
        table = content.get(position + 27, num_segments)
        end = position + 27 + num_segments + sum(table)
        if position + 27 > size or len(table) < num_segments or end > size:
            ended = False
            break
        flags = content.byte(position + 5)
        first, last = bool(flags & 2), bool(flags & 4)
        if first and not began:
            yield Part(start, position, complaint=ogg_complaint(ended, damaged), noisy=damaged)
            start, ended, damaged = position, False, False
        began, ended = first, last
        position = end
    yield Part(start, size, complaint=ogg_complaint(ended, damaged), noisy=damaged)


def ogg_complaint(ended: bool, damaged: bool) -> str | None:
    if damaged:
        return "parts of the file are damaged"
    return None if ended else "the file ends before its last page"


def mp4_parts(content: Content) -> Iterator[Part]:
    start = position = 0
    size = len(content)
    while position + 8 <= size:
        body, kind = content.number(position, 4), content.get(position + 4, 4)
        if kind == b"ftyp" and position > start:
            yield Part(start, position)
            start = position
        if body == 1:
            body = content.number(position + 8, 8)
        if body == 0:  # to the end of the file
            break
        if body < 8:
            raise ValueError("no box")
        position += body
    yield Part(start, size, complaint=CUT_SHORT if position > size else None)


BITRATES = {  # kbit/s by version 1 or 2 and layer
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES = (44100, 48000, 32000)


def frame_bytes(content: Content, position: int) -> int:
    """The length of the MPEG audio frame there (ISO 11172-3, 13818-3); 0 if there is none."""
    header = content.get(position, 4)
    if len(header) < 4 or header[0] != 0xFF:
        return 0
    second, third = header[1], header[2]
    version, layer = (second >> 3) & 3, 4 - ((second >> 1) & 3)
    bitrate, rate = third >> 4, (third >> 2) & 3
    if second & 0xE0 != 0xE0 or version == 1 or layer == 4 or rate == 3 or not 0 < bitrate < 15:
        return 0
    kbit = BITRATES[1 if version == 3 else 2, layer][bitrate - 1]
    hertz = RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    padding = (third >> 1) & 1
    if layer == 1:
        return (12000 * kbit // hertz + padding) * 4
    return (72000 if layer == 3 and version != 3 else 144000) * kbit // hertz + padding


def xing_frames(content: Content, position: int, length: int) -> int | None:
    """The number of frames that follow, as a frame of nothing but information says it."""
    version, mono = (content.byte(position + 1) >> 3) & 3, content.byte(position + 3) >> 6 == 3
    side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    at = position + 4 + side
    if content.get(at, 4) not in (b"Xing", b"Info") or length < side + 16:
        return None
    return content.number(at + 8, 4) if content.number(at + 4, 4) & XING_FRAMES else -1


def mp3_parts(content: Content) -> Iterator[Part]:
    """A tag or a frame of information after frames of sound begins the next recording."""
    start = position = num_frames = 0
    claimed: int | None = None
    noisy, size = False, len(content)

    def part(stop: int) -> Part:
        complaint = None
        if claimed is not None and claimed > 0 and num_frames != claimed:
            complaint = CUT_SHORT if num_frames < claimed else LONGER
        return Part(start, stop, None, complaint, noisy or complaint is not None)

    while position < size:
        if content.get(position, 3) == b"ID3" and position + 10 <= size:
            if num_frames:
                yield part(position)
                start, num_frames, claimed, noisy = position, 0, None, False
            length = 0
            for byte in content.get(position + 6, 4):
                length = length << 7 | byte & 127
            position += 10 + length
            continue
        length = frame_bytes(content, position)
        if length and position + length <= size:
            frames = xing_frames(content, position, length)
            if frames is not None and num_frames:
                yield part(position)
                start, num_frames, claimed, noisy = position, 0, None, False
            if frames is None:
                num_frames += 1
            else:
                claimed = frames
            position += length
            continue
        if is_tag(content, position):
            found = next_recording(content, position + 1)
            if found is None:
                break
            position = found
            continue
        if length:  # the last frame is cut off
            break
        found = next_frame(content, position + 1)
        noisy = True
        if found is None:
            break
        position = found
    if num_frames == 0:
        raise ValueError("no frames")
    yield part(size)


def is_tag(content: Content, position: int) -> bool:
    """ID3v1, APE, Lyrics3: what may follow the last frame."""
    head = content.get(position, 11)
    return head[:3] == b"TAG" or head[:8] == b"APETAGEX" or head == b"LYRICSBEGIN"


def next_recording(content: Content, position: int) -> int | None:
    """Where, after a tag, the next recording begins: with another tag, or with frames."""
    tag = content.find(b"ID3", position)
    frame = next_frame(content, position)
    found = [at for at in (tag if tag >= 0 else None, frame) if at is not None]
    return min(found) if found else None


def next_frame(content: Content, position: int) -> int | None:
    """The next place where three frames follow each other."""
    end = min(len(content), position + LONGEST_GARBAGE)
    while 0 <= (position := content.find(b"\xff", position, end)):
        second = position + frame_bytes(content, position)
        third = second + frame_bytes(content, second)
        if position < second < third and frame_bytes(content, third):
            return position
        position += 1
    return None

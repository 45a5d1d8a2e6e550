"""MPEG audio (ISO 11172-3, 13818-3), as in MP3 files: frames and tags without a container around them."""

from __future__ import annotations

from collections.abc import Iterator

from .content import CUT_SHORT, LONGER, Content, Part, is_tag

XING_FRAMES = 1  # flag of a Xing header: the number of frames is given
MAX_GARBAGE_BYTES = 1 << 20  # searched for the next frame

BITRATES = {  # kbit/s, by MPEG version (1; 2 and 2.5) and layer
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES = (44100, 48000, 32000)


def frame_bytes(content: Content, position: int) -> int:
    """Length of the MPEG audio frame at `position`; 0 if there is none."""
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
    """Number of frames according to a Xing or Info frame; -1 if it gives none, None if it is an audio frame.

    position, length: where the frame begins, and its bytes.
    """
    version, mono = (content.byte(position + 1) >> 3) & 3, content.byte(position + 3) >> 6 == 3
    side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    at = position + 4 + side
    if content.get(at, 4) not in (b"Xing", b"Info") or length < side + 16:
        return None
    return content.number(at + 8, 4) if content.number(at + 4, 4) & XING_FRAMES else -1


def mp3_parts(content: Content) -> Iterator[Part]:
    """An ID3v2 tag or a Xing frame after frames of audio begins the next recording.

    Raises ValueError if there is no frame.
    """
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
            following = next_recording(content, position + 1)
            if following is None:
                break
            position = following
            continue
        if length:  # the last frame is cut off
            break
        following = next_frame(content, position + 1)
        noisy = True
        if following is None:
            break
        position = following
    if num_frames == 0:
        raise ValueError("no frames")
    yield part(size)


def next_recording(content: Content, position: int) -> int | None:
    """Where the next recording begins after a tag, with another tag or a frame; None if there is none."""
    tag = content.find(b"ID3", position)
    frame = next_frame(content, position)
    candidates = [at for at in (tag if tag >= 0 else None, frame) if at is not None]
    return min(candidates, default=None)


def next_frame(content: Content, position: int) -> int | None:
    """The next place where three frames follow each other within MAX_GARBAGE_BYTES, or None."""
    end = min(len(content), position + MAX_GARBAGE_BYTES)
    while 0 <= (position := content.find(b"\xff", position, end)):
        second = position + frame_bytes(content, position)
        third = second + frame_bytes(content, second)
        if position < second < third and frame_bytes(content, third):
            return position
        position += 1
    return None

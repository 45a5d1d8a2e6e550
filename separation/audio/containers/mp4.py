"""MP4 and M4A (ISO 14496-12): boxes, each with its size."""

from __future__ import annotations

from collections.abc import Iterator

from .content import CUT_SHORT, Content, Part


def mp4_parts(content: Content) -> Iterator[Part]:
    """Each `ftyp` box begins a recording; ValueError for a size that no box can have."""
    start = position = 0
    size = len(content)
    while position + 8 <= size:
        box_bytes, kind = content.number(position, 4), content.get(position + 4, 4)
        if kind == b"ftyp" and position > start:
            yield Part(start, position)
            start = position
        if box_bytes == 1:  # a 64-bit size follows
            box_bytes = content.number(position + 8, 8)
        if box_bytes == 0:  # to the end of the file
            break
        if box_bytes < 8:
            raise ValueError("no box")
        position += box_bytes
    yield Part(start, size, complaint=CUT_SHORT if position > size else None)

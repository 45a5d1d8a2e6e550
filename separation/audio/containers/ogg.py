"""Ogg (RFC 3533): pages of one stream or of several streams chained together."""

from __future__ import annotations

from collections.abc import Iterator

from .content import Content, Part


def ogg_parts(content: Content) -> Iterator[Part]:
    """Links of a chain: a page that begins a stream, after pages of audio, begins the next recording."""
    start = position = 0
    previous_began, ended, damaged = True, False, False
    size = len(content)
    while position < size:
        if content.get(position, 4) != b"OggS":
            next_page = content.find(b"OggS", position)
            damaged, ended = True, False
            position = size if next_page < 0 else next_page
            continue
        num_segments = content.byte(position + 26) if position + 27 <= size else 0
        table = content.get(position + 27, num_segments)
        end = position + 27 + num_segments + sum(table)
        if position + 27 > size or len(table) < num_segments or end > size:
            ended = False
            break
        flags = content.byte(position + 5)
        begins, ends = bool(flags & 2), bool(flags & 4)
        if begins and not previous_began:
            yield Part(start, position, complaint=ogg_complaint(ended, damaged), noisy=damaged)
            start, ended, damaged = position, False, False
        previous_began, ended = begins, ends
        position = end
    yield Part(start, size, complaint=ogg_complaint(ended, damaged), noisy=damaged)


def ogg_complaint(ended: bool, damaged: bool) -> str | None:
    """What is wrong with a stream. ended: whether its last page is marked as such; damaged: bytes between."""
    if damaged:
        return "parts of the file are damaged"
    return None if ended else "the file ends before its last page"

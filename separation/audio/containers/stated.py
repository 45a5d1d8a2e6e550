"""VOC and NIST SPHERE: only whether the file holds as much as it states; libsndfile finds its samples."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .content import CUT_SHORT, Content, Part

VOC, NIST = b"Creative Voice F", b"NIST_1A\n"
VOC_LIMIT = 1 << 24  # bytes from which the sizes of blocks, of three bytes, have wrapped around
NIST_BYTES = ("sample_count", "channel_count", "sample_n_bytes")


class HeaderOnlyError(Exception):
    """The file ends within its header; what decoders make of the header's bytes is no audio."""


def voc_parts(content: Content) -> Iterator[Part]:
    """The whole file, which is blocks of a type, a size and a body up to one of type 0."""
    size, position = len(content), content.number(20, 2, big_endian=False)
    while position < size < VOC_LIMIT and content.byte(position):
        position += 4 + content.number(position + 1, 3, big_endian=False)
    is_cut = size < VOC_LIMIT and position > size
    yield Part(0, size, complaint=CUT_SHORT if is_cut else None)


def nist_parts(content: Content) -> Iterator[Part]:
    """The whole file: a header in ASCII of as many bytes as its second line says, then the samples.

    Raises HeaderOnlyError.
    """
    header_bytes = int(content.get(8, 8))
    if len(content) <= header_bytes:
        raise HeaderOnlyError
    fields = dict(re.findall(rb"(\w+) -\w+ (\w+)", content.get(0, header_bytes)))
    num_bytes = header_bytes
    if fields.get(b"sample_coding") == b"pcm":  # others are compressed
        count, channels, width = (int(fields.get(name.encode(), 0)) for name in NIST_BYTES)
        num_bytes += count * channels * width
    yield Part(0, len(content), complaint=CUT_SHORT if num_bytes > len(content) else None)

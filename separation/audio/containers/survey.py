"""The recordings in a file of any format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from ..source import AudioError
from .chunked import W64_RIFF, aiff_parts, au_parts, caf_parts, w64_parts, wav_parts
from .content import CUT_SHORT, Content, Part, split_at
from .mp4 import mp4_parts
from .mpeg import frame_bytes, mp3_parts
from .ogg import ogg_parts
from .stated import NIST, VOC, HeaderOnlyError, nist_parts, voc_parts

ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
# The signature and the header of the first block: STREAMINFO of 34 bytes, perhaps the last block.
FLAC = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")


def survey(path: Path) -> tuple[Part, ...]:
    """The recordings in a file of at least one byte; a single part, the whole file, if the format is unknown.

    Raises OSError if the file cannot be read, AudioError if it ends within its header.
    """
    with path.open("rb") as file:
        content = Content(file)
        split = splitter_for(content)
        try:
            parts = tuple(split(content)) if split else ()
        except HeaderOnlyError:
            raise AudioError(
                f"{path} holds no audio ({CUT_SHORT}): record or copy it again"
            ) from None
        except (IndexError, ValueError):  # not the format that its first bytes announce
            parts = ()
        if split is mp3_parts:
            whole = Part(0, len(content), noisy=True)
            return tuple(replace(part, mpeg=True) for part in parts or (whole,))
        return parts or (Part(0, len(content)),)


def splitter_for(content: Content) -> Callable[[Content], Iterator[Part]] | None:
    """The function that finds the parts of this format, by the file's first bytes; None if unknown."""
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
    if head == VOC:
        return voc_parts
    if head[:8] == NIST:
        return nist_parts
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

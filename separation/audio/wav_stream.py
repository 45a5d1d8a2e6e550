"""WAV files read from and written to pipes: sample by sample, without returning to the header."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from .sample_format import SUBTYPES, Waveform, sample_dtype
from .sndfile import decoded
from .source import MAX_CHANNELS, MAX_RATE, MIN_RATE, AudioError
from .writer import wav_header

CODES = {(1, 8): "PCM_U8", (1, 16): "PCM_16", (1, 24): "PCM_24", (1, 32): "PCM_32"}
CODES |= {(3, 32): "FLOAT", (3, 64): "DOUBLE"}
EXTENSIBLE = 0xFFFE  # the code then stands in the first two bytes of a longer identifier
NOT_STATED = 0xFFFFFF00  # 0 and sizes from here on mean that the writer did not know the length
MAX_HEADER_BYTES = 1 << 20
BLOCK_BYTES = 1 << 16


class NotStreamableError(Exception):
    """The input is not a WAV file that can be streamed. consumed: all bytes that were read."""

    def __init__(self, consumed: bytes) -> None:
        super().__init__()
        self.consumed = consumed


@dataclass(frozen=True)
class WavForm:
    """num_samples: as the header states, or None where it does not."""

    sample_rate: int
    num_channels: int
    subtype: str
    num_samples: int | None

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return self.num_channels * SUBTYPES[self.subtype] // 8

    def header(self) -> bytes:
        """The header of a WAV file of this form and number of samples."""
        return wav_header(self.sample_rate, self.num_channels, self.subtype, self.num_samples)


def read_header(source: BinaryIO) -> WavForm:
    """Read up to the first sample. Raises NotStreamableError."""
    taken = bytearray()

    def take(num_bytes: int) -> bytes:
        if len(taken) + num_bytes > MAX_HEADER_BYTES:
            raise NotStreamableError(bytes(taken))
        data = source.read(num_bytes)
        taken.extend(data)
        if len(data) < num_bytes:
            raise NotStreamableError(bytes(taken))
        return data

    start = take(12)
    if start[:4] not in (b"RIFF", b"RF64") or start[8:] != b"WAVE":
        raise NotStreamableError(bytes(taken))
    fmt = b""
    long_size: int | None = None
    while True:
        name, size = take(4), struct.unpack("<I", take(4))[0]
        if name == b"data":
            break
        content = take(size + size % 2)
        if name == b"fmt ":
            fmt = content
        elif name == b"ds64" and size >= 16:
            long_size = struct.unpack_from("<Q", content, 8)[0]
    if size == 2**32 - 1 and long_size is not None:
        size = long_size
    elif size == 0 or size >= NOT_STATED:
        size = None
    form = form_of(fmt, size)
    if form is None:
        raise NotStreamableError(bytes(taken))
    return form


def form_of(fmt: bytes, data_bytes: int | None) -> WavForm | None:
    """The form that a "fmt " chunk describes; None for a damaged chunk or compressed samples."""
    if len(fmt) < 16:
        return None
    code, num_channels, rate, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", fmt)
    if code == EXTENSIBLE and len(fmt) >= 26:
        code = struct.unpack_from("<H", fmt, 24)[0]
    subtype = CODES.get((code, bits))
    usual = 1 <= num_channels <= MAX_CHANNELS and MIN_RATE <= rate <= MAX_RATE
    if subtype is None or not usual or frame_bytes != num_channels * bits // 8:
        return None
    return WavForm(
        rate, num_channels, subtype, None if data_bytes is None else data_bytes // frame_bytes
    )


def read_blocks(source: BinaryIO, form: WavForm) -> Iterator[Waveform]:
    """Blocks (c, t) as they arrive, without waiting for more. Raises AudioError, at the end, where there were
    fewer samples than the header states, and for NaN or infinite samples."""
    left = None if form.num_samples is None else form.num_samples * form.frame_bytes
    waiting = b""
    num_read = 0
    while left is None or left:
        data = read_some(source, BLOCK_BYTES if left is None else min(left, BLOCK_BYTES))
        if not data:
            break
        left = None if left is None else left - len(data)
        waiting += data
        whole = len(waiting) // form.frame_bytes * form.frame_bytes
        if whole:
            block, waiting = waiting[:whole], waiting[whole:]
            samples = decoded(block, form.subtype, False, sample_dtype(form.subtype))
            waveform = np.ascontiguousarray(samples.reshape(-1, form.num_channels).T)
            if not np.isfinite(waveform).all():
                seconds = num_read / form.sample_rate
                raise AudioError(
                    f"standard input holds a NaN or infinite sample after {seconds:.3f} s: "
                    "repair it, or add --nan zero"
                )
            num_read += waveform.shape[1]
            yield waveform
    while read_some(source, BLOCK_BYTES):  # the rest, so that the writer is not interrupted
        pass
    if num_read == 0:
        raise AudioError("standard input holds no audio: check what writes to it")
    if form.num_samples is not None and num_read < form.num_samples:
        claimed, seconds = (num / form.sample_rate for num in (form.num_samples, num_read))
        raise AudioError(
            f"standard input ended after {seconds:.2f} s, and its header says {claimed:.2f} s: so much "
            "was separated"
        )


def read_some(source: BinaryIO, most: int) -> bytes:
    """The bytes available now, at least one unless the input has ended."""
    read = getattr(source, "read1", source.read)  # of a pipe; read waits for all
    data: bytes = read(most)
    return data

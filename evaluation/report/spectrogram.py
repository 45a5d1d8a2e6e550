"""Spectrograms as PNG images, small enough for a page to embed dozens."""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

ROWS, COLUMNS, WINDOW = 128, 320, 2048
RANGE_DB = 80.0
# Dark to light, equally spaced: near black, violet, red, orange, pale yellow.
COLOURS = ((3, 2, 15), (81, 18, 124), (183, 55, 121), (252, 137, 97), (252, 253, 191))


def level_db(waveform: NDArray[np.floating], sample_rate: int) -> NDArray[np.float64]:
    """Power in dB of a waveform (t,): (ROWS, COLUMNS), rows equally spaced in mel, highest first."""
    padded = np.pad(np.asarray(waveform, dtype=np.float64), WINDOW // 2)
    starts = np.linspace(0, len(padded) - WINDOW, COLUMNS).round().astype(int)
    frames = padded[starts[:, None] + np.arange(WINDOW)] * np.hanning(WINDOW)
    rows = mel_rows(np.square(np.abs(np.fft.rfft(frames))), sample_rate)
    levels: NDArray[np.float64] = 10 * np.log10(np.maximum(rows, 1e-20))
    return levels


def mel(hz: float) -> float:
    """Frequency in Hz to mel."""
    return float(2595 * np.log10(1 + hz / 700))


def mel_rows(power: NDArray[np.float64], sample_rate: int) -> NDArray[np.float64]:
    """Spectra (n, WINDOW / 2 + 1) to mean power (ROWS, n); rows equally spaced in mel from the top down."""
    edges_hz = 700 * (10 ** (np.linspace(0, mel(sample_rate / 2), ROWS + 1) / 2595) - 1)
    bins = (edges_hz * WINDOW / sample_rate).round().astype(int)
    rows = [power[:, low : max(low + 1, high)].mean(axis=1) for low, high in pairwise(bins)]
    return np.stack(rows[::-1])


def png(levels: NDArray[np.float64], loudest: float) -> bytes:
    """PNG image of levels (rows, columns) in dB, from RANGE_DB below `loudest` up to it."""
    shade = np.clip(1 + (levels - loudest) / RANGE_DB, 0, 1)
    indices = (255 * shade).round().astype(np.uint8)
    stops = np.linspace(0, 255, len(COLOURS))
    palette = np.stack([np.interp(np.arange(256), stops, c) for c in zip(*COLOURS, strict=True)], 1)
    height, width = indices.shape
    lines = np.pad(indices, ((0, 0), (1, 0)))  # each line begins with its filter type: 0, none
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(name, content)
        for name, content in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),  # 8 bits, palette
            (b"PLTE", palette.round().astype(np.uint8).tobytes()),
            (b"IDAT", zlib.compress(lines.tobytes(), 9)),
            (b"IEND", b""),
        )
    )


def _chunk(name: bytes, content: bytes) -> bytes:
    length, checksum = len(content), zlib.crc32(name + content)
    return struct.pack(">I", length) + name + content + struct.pack(">I", checksum)

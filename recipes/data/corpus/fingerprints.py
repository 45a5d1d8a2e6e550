"""Audio fingerprints: recordings with the same content, whatever their codec, level or beginning.

Haitsma and Kalker, "A highly robust audio fingerprinting system" (2002): 32 bits per frame, the signs of
differences of band energies along frequency and time. Theirs cover 300 to 2000 Hz, for music; other sounds
reach higher, so these cover LOW_HZ to HIGH_HZ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16000
WINDOW_SAMPLES, HOP_SAMPLES = 4096, 256
BLOCK_FRAMES = 128
NUM_BITS = 32
LOW_HZ, HIGH_HZ = 200.0, 6000.0
SILENT_FRAME_DB = -50.0  # relative to the loudest frame; the bits of quieter ones are noise
MIN_FRAMES = 40  # that overlap: 0.64 s
MAX_ERROR = 0.25  # share of bits that differ; theirs is 0.35, over three seconds
# Of shorter sounds nearly all frames must overlap, with fewer errors: coded copies of the 75 shortest of
# sounds21 have 13 % at most, and no two of its 607 recordings match so.
SHORT_FRAMES, SHORT_SHARE, SHORT_ERROR = 12, 0.9, 0.15
MIN_VOTES = 3  # frames that agree in three bytes of four, before two recordings are compared
MASKS = tuple(np.uint32(0xFFFFFFFF ^ (0xFF << shift)) for shift in (0, 8, 16, 24))
NEIGHBOURS = 16  # frames with equal bits that each frame is paired with
MAX_SHIFT = 1 << 20


class Fingerprint(NamedTuple):
    """words: (n,), the 32 bits of each frame. audible: (n,), whether the frame is loud enough to count."""

    words: NDArray[np.uint32]
    audible: NDArray[np.bool_]


class Match(NamedTuple):
    """first < second: indices of recordings. error: share of bits that differ, over num_frames frames."""

    first: int
    second: int
    error: float
    num_frames: int


def fingerprint(waveform: NDArray[np.float32]) -> Fingerprint:
    """The fingerprint of a waveform (t,) at SAMPLE_RATE."""
    energy = band_energies(waveform)
    slope = energy[:, :-1] - energy[:, 1:]
    bits = np.diff(slope, axis=0) > 0
    words = bits @ (np.uint32(1) << np.arange(NUM_BITS, dtype=np.uint32))
    level = energy.sum(axis=1)[1:]
    audible = level > level.max(initial=0.0) * 10 ** (SILENT_FRAME_DB / 10)
    return Fingerprint(words.astype(np.uint32), audible)


def band_energies(waveform: NDArray[np.float32]) -> NDArray[np.float64]:
    """Waveform (t,) to energies (n, 33) in bands of equal width on a logarithmic frequency axis."""
    padded = np.pad(waveform, WINDOW_SAMPLES // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SAMPLES)[::HOP_SAMPLES]
    window = np.hanning(WINDOW_SAMPLES).astype(np.float32)
    edges_hz = np.geomspace(LOW_HZ, HIGH_HZ, NUM_BITS + 2)
    edges = np.round(edges_hz / SAMPLE_RATE * WINDOW_SAMPLES).astype(int)
    blocks = []
    for start in range(0, len(frames), BLOCK_FRAMES):
        spec = np.fft.rfft(frames[start : start + BLOCK_FRAMES] * window)[:, : edges[-1]]
        power = spec.real.astype(np.float64) ** 2 + spec.imag.astype(np.float64) ** 2
        blocks.append(np.add.reduceat(power, edges[:-1], axis=1))
    return np.concatenate(blocks)


def find_matches(prints: Sequence[Fingerprint]) -> list[Match]:
    """All pairs of recordings with the same content, each once, sorted."""
    matches = []
    for first, second, shift in candidates(prints):
        error, num_frames = bit_error(prints[first], prints[second], shift)
        longer = max(int(prints[index].audible.sum()) for index in (first, second))
        if is_same(error, num_frames, longer):
            matches.append(Match(first, second, error, num_frames))
    best: dict[tuple[int, int], Match] = {}
    for match in sorted(matches, key=lambda match: match.error):
        best.setdefault(match[:2], match)
    return sorted(best.values())


def is_same(error: float, num_frames: int, num_audible: int) -> bool:
    """Whether two recordings have the same content.

    error: share of bits that differ over num_frames frames. num_audible: audible frames of the one that has
    more of them.
    """
    if num_frames >= MIN_FRAMES:
        return error <= MAX_ERROR
    return num_frames >= max(SHORT_FRAMES, SHORT_SHARE * num_audible) and error <= SHORT_ERROR


def candidates(prints: Sequence[Fingerprint]) -> Iterator[tuple[int, int, int]]:
    """(first, second, shift) of pairs in which at least MIN_VOTES frames agree in three bytes of four.

    shift: the frame of the second recording that corresponds to frame 0 of the first. Frames are sorted by
    their bits and paired with the ones that follow, so the time is linear in their number but for sorting.
    """
    if not prints:
        return
    owner = np.concatenate([np.full(int(p.audible.sum()), i) for i, p in enumerate(prints)])
    frame = np.concatenate([np.flatnonzero(p.audible) for p in prints])
    word = np.concatenate([p.words[p.audible] for p in prints])
    keys = [
        (owner[a] * len(prints) + owner[b]) * MAX_SHIFT + frame[b] - frame[a] + MAX_SHIFT // 2
        for mask in MASKS
        for a, b in neighbours(word & mask, owner)
    ]
    values, votes = np.unique(np.concatenate(keys), return_counts=True)
    for key in values[votes >= MIN_VOTES]:
        pair, shift = divmod(int(key), MAX_SHIFT)
        first, second = divmod(pair, len(prints))
        yield first, second, shift - MAX_SHIFT // 2


def neighbours(
    word: NDArray[np.uint32], owner: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of indices of frames with equal words and different owners, the smaller owner first."""
    order = np.argsort(word, kind="stable")  # equal words stay in the order of their owners
    word, owner = word[order], owner[order]
    for step in range(1, NEIGHBOURS + 1):
        first = np.flatnonzero((word[step:] == word[:-step]) & (owner[step:] != owner[:-step]))
        yield order[first], order[first + step]


def bit_error(first: Fingerprint, second: Fingerprint, shift: int) -> tuple[float, int]:
    """Share of bits that differ over the frames that are audible in both, and the number of these frames."""
    start = max(0, -shift)
    end = min(len(first.words), len(second.words) - shift)
    if end <= start:
        return 1.0, 0
    ours, theirs = slice(start, end), slice(start + shift, end + shift)
    both = first.audible[ours] & second.audible[theirs]
    differing = (first.words[ours] ^ second.words[theirs])[both]
    bits = np.unpackbits(differing.view(np.uint8)).sum() if len(differing) else 0
    return float(bits) / max(1, NUM_BITS * int(both.sum())), int(both.sum())

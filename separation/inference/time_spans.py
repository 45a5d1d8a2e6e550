"""Where a target may sound: spans of time as gains, sample by sample, in constant memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from qsep.queries.interface import Constraints, Span

FADE_SECONDS = 0.01
TOLERANCE_SECONDS = 0.1  # that an end may lie after the recording's: players round

Pair = tuple[NDArray[np.floating], NDArray[np.float32]]


def allowed(constraints: Constraints) -> list[Span]:
    """What spans and not_spans leave: disjoint, in order. ValueError where that is nothing."""
    left: list[Span] = []
    for span in sorted(constraints.spans or [Span(0)], key=lambda span: span.start):  # their union
        if left and span.start <= left[-1].end:
            last = left.pop()
            span = Span(last.start, max(last.end, span.end))
        left.append(span)
    for hole in constraints.not_spans:
        before = [
            Span(own.start, min(own.end, hole.start)) for own in left if own.start < hole.start
        ]
        after = [Span(max(own.start, hole.end), own.end) for own in left if hole.end < own.end]
        left = before + after
    if not left:
        raise ValueError("the spans leave no time in which the target may sound: check them")
    return sorted(left, key=lambda span: span.start)


def gains(left: list[Span], start: int, num: int, sample_rate: int) -> NDArray[np.float32]:
    """(num,) in [0, 1], of the samples from start on: 0 outside the disjoint spans, inside them 1 but for
    raised-cosine fades at their ends, FADE_SECONDS long; there is none where the recording ends."""
    place = np.arange(start, start + num)
    total = np.zeros(num)
    fade = max(1.0, FADE_SECONDS * sample_rate)
    for span in left:
        first, last = round(span.start * sample_rate), in_samples(span.end, sample_rate)
        rise = risen((place - first + 0.5) / fade) if first > 0 else 1.0
        fall = risen((last - place - 0.5) / fade) if last < math.inf else 1.0
        total += np.where((place >= first) & (place < last), rise * fall, 0.0)
    return total.astype(np.float32)


def in_samples(seconds: float, sample_rate: int) -> float:
    return round(seconds * sample_rate) if seconds < math.inf else math.inf


def risen(way: NDArray[np.floating]) -> NDArray[np.floating]:
    """Half a period of a cosine, from 0 to 1 as the way does."""
    return (1 - np.cos(np.pi * np.clip(way, 0, 1))) / 2


def within_spans(
    pairs: Iterable[Pair], constraints: Constraints, sample_rate: int
) -> Iterator[Pair]:
    """Pairs of mixture (c, t) and targets (s, c, t), the targets silenced where they may not sound.

    ValueError for spans outside the recording, once its end is known.
    """
    left = allowed(constraints)
    num_done = 0
    for mixture, targets in pairs:
        gain = gains(left, num_done, mixture.shape[-1], sample_rate)
        num_done += mixture.shape[-1]
        yield mixture, targets * gain
    check_spans(constraints, num_done / sample_rate)


def check_spans(constraints: Constraints, seconds: float) -> None:
    for span in (*constraints.spans, *constraints.not_spans):
        latest = span.end if span.end < math.inf else span.start
        if span.start >= seconds or latest > seconds + TOLERANCE_SECONDS:
            raise ValueError(
                f"span {span} lies outside the recording, which is {seconds:.3f} s long; "
                f"{span.start:g}- means to its end"
            )

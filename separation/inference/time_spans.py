"""Time spans in which targets may sound, applied as gains in constant memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from qsep.queries.constraints import Constraints, Span

FADE_SECONDS = 0.01
TOLERANCE_SECONDS = 0.1  # that a span may end after the recording, since players round times

Pair = tuple[NDArray[np.floating], NDArray[np.float32]]


def allowed(constraints: Constraints) -> list[Span]:
    """The union of `spans` less `not_spans`: disjoint, sorted. ValueError if it is empty."""
    spans: list[Span] = []
    for span in sorted(constraints.spans or [Span(0)], key=lambda span: span.start):  # union
        if spans and span.start <= spans[-1].end:
            last = spans.pop()
            span = Span(last.start, max(last.end, span.end))
        spans.append(span)
    for hole in constraints.not_spans:
        before = [
            Span(span.start, min(span.end, hole.start)) for span in spans if span.start < hole.start
        ]
        after = [Span(max(span.start, hole.end), span.end) for span in spans if hole.end < span.end]
        spans = before + after
    if not spans:
        raise ValueError("the spans leave no time in which the target may sound: check them")
    return sorted(spans, key=lambda span: span.start)


def gains(spans: list[Span], start: int, num: int, sample_rate: int) -> NDArray[np.float32]:
    """Gains (num,) in [0, 1] of the samples from `start` on: 1 inside the disjoint spans, 0 outside.

    Spans begin and end with raised-cosine fades of FADE_SECONDS, except at the recording's own ends.
    """
    samples = np.arange(start, start + num)
    total = np.zeros(num)
    fade = max(1.0, FADE_SECONDS * sample_rate)
    for span in spans:
        first, last = round(span.start * sample_rate), in_samples(span.end, sample_rate)
        rise = raised_cosine((samples - first + 0.5) / fade) if first > 0 else 1.0
        fall = raised_cosine((last - samples - 0.5) / fade) if last < math.inf else 1.0
        total += np.where((samples >= first) & (samples < last), rise * fall, 0.0)
    return total.astype(np.float32)


def in_samples(seconds: float, sample_rate: int) -> float:
    """The nearest whole number of samples; infinite seconds stay infinite."""
    return round(seconds * sample_rate) if seconds < math.inf else math.inf


def raised_cosine(phase: NDArray[np.floating]) -> NDArray[np.floating]:
    """Half a period of a cosine, from 0 at phase <= 0 to 1 at phase >= 1."""
    return (1 - np.cos(np.pi * np.clip(phase, 0, 1))) / 2


def within_spans(
    pairs: Iterable[Pair], constraints: Constraints, sample_rate: int
) -> Iterator[Pair]:
    """Pairs of mixture (c, t) and targets (s, c, t), with the targets silenced outside the spans.

    Raises ValueError for spans outside the recording, once its end is known.
    """
    spans = allowed(constraints)
    num_done = 0
    for mixture, targets in pairs:
        gain = gains(spans, num_done, mixture.shape[-1], sample_rate)
        num_done += mixture.shape[-1]
        yield mixture, targets * gain
    check_spans(constraints, num_done / sample_rate)


def check_spans(constraints: Constraints, seconds: float) -> None:
    """Raise ValueError for a span outside a recording of that many seconds."""
    for span in (*constraints.spans, *constraints.not_spans):
        latest = span.end if span.end < math.inf else span.start
        if span.start >= seconds or latest > seconds + TOLERANCE_SECONDS:
            raise ValueError(
                f"span {span} lies outside the recording, which is {seconds:.3f} s long; "
                f"{span.start:g}- means to its end"
            )

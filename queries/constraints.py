"""Constraints on the targets of a call: negatives, time spans, exclusivity."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .interface import Query, TextQuery

# Seconds, or minutes:seconds, or hours:minutes:seconds.
TIME = r"(?:(?:\d+:[0-5]?\d:|\d+:)(?=[0-5]\d(?!\d)))?(?:\d+\.?\d*|\.\d+)"


@dataclass(frozen=True)
class Span:
    """Part of a recording, start <= time < end in seconds; an infinite end means the recording's end.

    Raises ValueError for a negative start or an end before it.
    """

    start: float
    end: float = math.inf

    def __post_init__(self) -> None:
        if not 0 <= self.start < math.inf:
            raise ValueError(f"span {self}: starts at {self.start:g} s; expected 0 or later")
        if not self.start < self.end:
            raise ValueError(f"span {self} ends before it starts; write START-END, as 3.2-5.0")

    def __str__(self) -> str:
        return f"{plain(self.start)}-" + (plain(self.end) if self.end < math.inf else "")

    @classmethod
    def parse(cls, text: str) -> Span:
        """Parse "3.2-5.0", or "3.2-" to the end; times also as "0:01", "1:02:03.5". ValueError for others."""
        match = re.fullmatch(rf"\s*({TIME})\s*-\s*({TIME})?\s*", text)
        if not match:
            raise ValueError(
                f"span {text!r}: expected START-END in seconds, as 3.2-5.0, or 3.2-, "
                "or in minutes and seconds, as 0:03-1:05"
            )
        return cls(seconds_of(match[1]), seconds_of(match[2]) if match[2] else math.inf)


def plain(seconds: float) -> str:
    """A time that `seconds_of` reads as the same: all its digits, no exponent, no zeros at the end."""
    text = repr(float(seconds))
    if "e" in text:
        text = f"{seconds:.20f}"
    return text.rstrip("0").rstrip(".")


def seconds_of(time: str) -> float:
    """A time that TIME matches (seconds, minutes:seconds or hours:minutes:seconds) in seconds."""
    *larger, seconds = time.split(":")
    return sum(60.0**power * int(part) for power, part in enumerate(reversed(larger), 1)) + float(
        seconds
    )


@dataclass(frozen=True, init=False)
class Constraints:
    """Constraints on the targets of one call.

    negatives: sounds to remove from all targets. spans: where targets may sound, by default anywhere;
    not_spans: where they may not; each a Span, (start, end) in seconds, or "start-end". exclusive: make
    targets mutually exclusive, so that they sum to at most the mixture. consistent: make the targets of
    generative models parts of the mixture.
    """

    negatives: tuple[Query, ...]
    spans: tuple[Span, ...]
    not_spans: tuple[Span, ...]
    exclusive: bool
    consistent: bool

    def __init__(
        self,
        negatives: Sequence[str | Query] = (),
        spans: Sequence[str | tuple[float, float] | Span] = (),
        not_spans: Sequence[str | tuple[float, float] | Span] = (),
        exclusive: bool = False,
        consistent: bool = False,
    ) -> None:
        # A single query stands for a list of one; a string must not be split into letters.
        listed: Sequence[str | Query] = (
            [negatives] if isinstance(negatives, str | Query) else negatives
        )
        queries = tuple(TextQuery(item) if isinstance(item, str) else item for item in listed)
        for query in queries:
            if not isinstance(query, Query):
                raise ValueError(f"expected negatives as texts, got {query!r}")
        object.__setattr__(self, "negatives", tuple(dict.fromkeys(queries)))
        object.__setattr__(self, "spans", as_spans(spans))
        object.__setattr__(self, "not_spans", as_spans(not_spans))
        object.__setattr__(self, "exclusive", exclusive)
        object.__setattr__(self, "consistent", consistent)

    def plain(self) -> dict[str, Any]:
        """The constraints that differ from the default, as plain values for JSON."""
        values: dict[str, Any] = {
            "negatives": [query.name for query in self.negatives],
            "spans": [str(span) for span in self.spans],
            "not_spans": [str(span) for span in self.not_spans],
            "exclusive": self.exclusive,
            "consistent": self.consistent,
        }
        return {name: value for name, value in values.items() if value}


def as_spans(spans: Any) -> tuple[Span, ...]:
    """A list of spans, or a single one, as Span objects."""
    is_pair = isinstance(spans, tuple) and all(isinstance(item, (int, float)) for item in spans)
    if isinstance(spans, (str, Span)) or (is_pair and spans):
        spans = [spans]
    return tuple(as_span(span) for span in spans)


def as_span(span: str | tuple[float, float] | Span) -> Span:
    """A Span from "start-end", (start, end) in seconds, or itself; ValueError if it is none."""
    if isinstance(span, Span):
        return span
    return Span.parse(span) if isinstance(span, str) else Span(*span)


NO_CONSTRAINTS = Constraints()

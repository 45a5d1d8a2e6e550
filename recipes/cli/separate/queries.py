"""Queries and constraints from the options of `qsep separate`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from qsep.queries.constraints import Constraints
from qsep.queries.interface import (
    AudioQuery,
    ImageQuery,
    MixedQuery,
    Plain,
    Query,
    TextQuery,
)
from qsep.separation.inference.time_spans import allowed

LIKE_A_FILE = re.compile(r"[/\\]|\.[A-Za-z0-9]{2,5}$")


def words_last(inputs: Sequence[Path], has_queries: bool) -> tuple[list[Path], list[str]]:
    """Inputs and query words: of `street.wav "a dog"` the second input is a query.

    That holds for two inputs of which the second does not exist and does not look like a file name, unless
    other queries are given. Returns (recordings, words).
    """
    if len(inputs) != 2 or has_queries or inputs[1].exists() or LIKE_A_FILE.search(str(inputs[1])):
        return list(inputs), []
    return [inputs[0]], [str(inputs[1])]


def queries_from(
    words: Sequence[str],
    pictures: Sequence[Path],
    recordings: Sequence[Path],
    mix_weight: float | None = None,
) -> list[Query]:
    """One query for each text, one of all pictures and one of all recordings.

    With a mix_weight in [0, 1], one query for each text, mixed with the pictures and recordings, which share
    that weight. Raises ValueError for other weights, and if there is nothing to mix.
    """
    texts = [TextQuery(text) for text in dict.fromkeys(words)]
    examples: list[Plain] = []
    if pictures:
        examples.append(ImageQuery(*pictures))
    if recordings:
        examples.append(AudioQuery(*recordings))
    if mix_weight is None:
        return [*texts, *examples]
    if not 0 <= mix_weight <= 1:
        raise ValueError(f"--mix-weight {mix_weight:g} is not between 0 and 1")
    if not texts or not examples:
        raise ValueError("--mix-weight needs both -q and --query-audio or --query-image")
    weights = (1 - mix_weight, *[mix_weight / len(examples)] * len(examples))
    return [MixedQuery(text, *examples, weights=weights) for text in texts]


def constraints_from(
    queries: Sequence[Query],
    negatives: Sequence[str],
    spans: Sequence[str],
    not_spans: Sequence[str],
    exclusive: bool,
    consistent: bool,
) -> Constraints:
    """The constraints common to all queries.

    Raises ValueError for malformed spans, spans that leave no time, and a query that is also a negative.
    """
    for query in queries:
        if isinstance(query, TextQuery) and query.text in negatives:
            raise ValueError(f"{query.text!r} is both a query and a --negative: remove one")
    constraints = Constraints(negatives, spans, not_spans, exclusive, consistent)
    allowed(constraints)
    return constraints

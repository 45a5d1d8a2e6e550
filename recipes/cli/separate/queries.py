"""What the options of `qsep separate` ask for, as queries."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from qsep.queries.interface import (
    AudioQuery,
    Constraints,
    ImageQuery,
    MixedQuery,
    Plain,
    Query,
    TextQuery,
)
from qsep.separation.inference.time_spans import allowed

LIKE_A_FILE = re.compile(r"[/\\]|\.[A-Za-z0-9]{2,5}$")


def words_last(inputs: Sequence[Path], others: bool) -> tuple[list[Path], list[str]]:
    """The recordings, and the query where one recording and words are all that is given, as in
    `qsep separate street.wav "a dog"`. others: whether there are queries besides."""
    if len(inputs) != 2 or others or inputs[1].exists() or LIKE_A_FILE.search(str(inputs[1])):
        return list(inputs), []
    return [inputs[0]], [str(inputs[1])]


def queries_from(
    words: Sequence[str],
    pictures: Sequence[Path],
    recordings: Sequence[Path],
    mix_weight: float | None = None,
) -> list[Query]:
    """One query for each of the words, one of all pictures and one of all recordings.

    With a mix_weight in [0, 1]: only the first, each mixed with the others, which share that weight.
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
        raise ValueError(
            "--mix-weight mixes examples into words: give -q, and --query-audio or --query-image"
        )
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
    """What else is said of all queries; ValueError for what contradicts them or itself."""
    for query in queries:
        if isinstance(query, TextQuery) and query.text in negatives:
            raise ValueError(f"{query.text!r} is wanted (-q) and not wanted (--negative): drop one")
    constraints = Constraints(negatives, spans, not_spans, exclusive, consistent)
    allowed(constraints)
    return constraints

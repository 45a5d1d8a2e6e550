"""How a model reads the words of queries: refusals, warnings, and a line for the user."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qsep.queries.interface import Query
    from qsep.separation.api import Model
    from qsep.separation.light.model import LightModel


def check_queries(
    model: Model | LightModel,
    queries: Sequence[Query],
    strict: bool,
    min_similarity: float | None,
    print_readings: bool,
) -> None:
    """Embed the queries; refuse or warn about those that the model does not know.

    Raises ValueError for a query that the model's encoder cannot read, one for a sound unknown to the
    model if strict, and one whose cosine similarity to the nearest known phrase is under min_similarity.
    print_readings: print what each known query is read as.
    """
    if queries:  # none of a bulk run whose list has them
        model.embed(queries)
    refuse_unknown(model, queries, strict, min_similarity)
    for query in queries:
        model.warn_if_unfamiliar(query)
    if print_readings:
        show_readings(model, queries)


def refuse_unknown(
    model: Model | LightModel,
    queries: Sequence[Query],
    strict: bool,
    min_similarity: float | None,
) -> None:
    """Raise ValueError for an unknown query, if strict, and for one less similar than min_similarity."""
    from qsep.queries.interface import shortened

    if not strict and min_similarity is None:
        return
    for query in queries:
        known, similarity, nearest = familiarity(model, query)
        name = shortened(query.name)
        if strict and not known:
            raise ValueError(
                f"{name!r} is unlike every sound that the model knows (nearest: {nearest}); "
                "rephrase it, or leave --strict out"
            )
        if min_similarity is not None and similarity < min_similarity:
            raise ValueError(
                f"{name!r} has a similarity of {similarity:.2f} to what the model knows (nearest: "
                f"{nearest}), less than {min_similarity:g}; rephrase it, or lower --min-similarity"
            )


def familiarity(model: Model | LightModel, query: Query) -> tuple[bool, float, str]:
    """Whether the model knows the queried sound, the query's cosine similarity to the nearest phrase that
    it knows, and the sound that phrase stands for.

    Raises ValueError for a model that has no list of known sounds.
    """
    if reading := model.read(query):
        return reading.known, reading.similarity, reading.understood
    if nearest := model.familiarity(query):
        return nearest.known, nearest.similarity, nearest.kind
    raise ValueError(
        f"{model.name} has no list of known sounds: leave --strict and --min-similarity out"
    )


def show_readings(model: Model | LightModel, queries: Sequence[Query]) -> None:
    """Print to standard error what each known query is read as; unknown ones have had their warning."""
    for query in queries:
        reading = model.read(query)
        if reading and reading.known:
            print(f"qsep: {reading.line()}", file=sys.stderr)

"""What a model takes words for: `qsep models read`, and the lines that `qsep separate` says of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from qsep.separation import DEFAULT_MODEL

from .options import ModelOption

if TYPE_CHECKING:
    from qsep.queries.interface import Query
    from qsep.separation.api import Model


def read(
    words: Annotated[
        list[str], typer.Argument(help="Queries, as 'the drums'.", metavar="WORDS...")
    ],
    model: ModelOption = DEFAULT_MODEL,
    json_output: Annotated[
        bool, typer.Option("--json", help="One JSON object a query on standard output.")
    ] = False,
) -> None:
    """What a model takes words for, without a recording: its classes, each with a degree."""
    from qsep.queries.interface import TextQuery
    from qsep.separation.api import checkpoint_folder
    from qsep.separation.storage.checkpoint import read_config, stored_encoder

    folder = checkpoint_folder(model)
    config = read_config(folder)
    encoder = stored_encoder(folder, config)
    for text in words:
        reading = encoder.read(TextQuery(text))
        if reading is None:
            raise ValueError(
                f"{model} does not read words as classes (its encoder is {config['encoder']['kind']}); "
                "give a model that has a phrase book"
            )
        if json_output:
            print(json.dumps(reading.plain()))
            continue
        print(reading.line())
        for label, degree in reading.classes:
            print(f"  {label:20} {degree:.2f}")


def refuse_unknown(
    model: Model, queries: Sequence[Query], strict: bool, min_similarity: float | None
) -> None:
    """Raise ValueError for words that the model does not know, if strict, or knows too little."""
    for query in queries if strict or min_similarity is not None else ():
        known, similarity, nearest = familiarity(model, query)
        if strict and not known:
            raise ValueError(
                f"{query.name!r} is unlike every sound that the model knows (nearest: {nearest}); "
                "ask otherwise, or leave --strict out"
            )
        if min_similarity is not None and similarity < min_similarity:
            raise ValueError(
                f"{query.name!r} has a similarity of {similarity:.2f} to what the model knows "
                f"(nearest: {nearest}), less than {min_similarity:g}; ask otherwise"
            )


def familiarity(model: Model, query: Query) -> tuple[bool, float, str]:
    """Whether the words are known, how like a phrase they are, and what they are taken for."""
    if reading := model.read(query):
        return reading.known, reading.similarity, reading.understood
    if found := model.familiarity(query):
        return found.known, found.similarity, found.kind
    raise ValueError(f"{model.name} knows no list of sounds, so --strict can refuse nothing")


def say_readings(model: Model, queries: Sequence[Query]) -> None:
    """A line on standard error for each query in words that is known; a warning says the others."""
    for query in queries:
        reading = model.read(query)
        if reading and reading.known:
            print(f"qsep: {reading.line()}", file=sys.stderr)

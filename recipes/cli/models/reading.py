"""`qsep models read`."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import Annotated

import typer

from qsep.separation import DEFAULT_MODEL

from ..options import ModelOption


def read_queries(
    words: Annotated[
        list[str], typer.Argument(help="Queries, as 'the drums'.", metavar="QUERY...")
    ],
    model: ModelOption = DEFAULT_MODEL,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per query.")
    ] = False,
) -> None:
    """Show which classes of sound a model reads into a query, each with a degree from 0 to 1.

    No recording is needed. Raises an error for a model without a phrase book.
    """
    from qsep.queries.encoders.phrase_book import PhraseBook
    from qsep.queries.interface import TextQuery
    from qsep.separation.api import checkpoint_folder
    from qsep.separation.light.model import LightModel
    from qsep.separation.storage.config import read_config, stored_encoder

    folder = checkpoint_folder(model)
    config = read_config(folder)
    encoder = stored_encoder(folder, config)
    if isinstance(encoder, PhraseBook) and find_spec("torch") is None:
        encoder = LightModel(folder).encoder
    for text in words:
        reading = encoder.read(TextQuery(text))
        if reading is None:
            raise ValueError(
                f"{model} does not read queries as classes (its encoder is "
                f"{config['encoder']['kind']}): choose a model with a phrase book"
            )
        if json_output:
            print(json.dumps(reading.plain()))
            continue
        print(reading.line())
        for label, degree in reading.classes:
            print(f"  {label:20} {degree:.2f}")

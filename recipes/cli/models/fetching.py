"""`qsep models get` and `qsep models remove`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .sizes import in_words


def get_models(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Names of 'qsep models list', or ORG/NAME on the Hugging Face hub.",
            metavar="NAME...",
        ),
    ],
    folder: Annotated[
        Path | None,
        typer.Option("--from", help="Folder with files that were downloaded by hand."),
    ] = None,
) -> None:
    """Download models and convert them, so that they work without a network from then on."""
    from qsep.separation.api import checkpoint_folder
    from qsep.separation.published.installed import get_model
    from qsep.separation.published.registry import published_models

    if folder and not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; --from names one that holds the model's files")
    models = published_models()
    for name in names:
        if name not in models:
            print(f"{name}: {checkpoint_folder(name)}")
            continue
        path = get_model(name, folder)
        setting = models[name].use
        print(
            f'{name}: in a recipe [encoder] {setting} = "{path}"' if setting else f"{name}: {path}"
        )


def remove_models(
    names: Annotated[
        list[str],
        typer.Argument(help="Names given to 'qsep models get'.", metavar="NAME..."),
    ],
) -> None:
    """Delete downloaded models and their downloads; they can be fetched again at any time."""
    from qsep.separation.api import shipped_models
    from qsep.separation.published.removal import remove_model

    for name in dict.fromkeys(names):
        if name in shipped_models():
            raise ValueError(f"{name} comes with the package: it is not removed")
        print(f"{name}: removed, {in_words(remove_model(name))} freed")

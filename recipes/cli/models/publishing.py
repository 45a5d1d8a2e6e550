"""`qsep models convert` and `qsep models push`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def convert_model(
    file: Annotated[Path, typer.Argument(help="A released checkpoint, such as best_model.pt.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            help="Settings that differ from the released ones, as separator.exact=true.",
            metavar="[KEY=VALUE]...",
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The checkpoint folder to write.")],
) -> None:
    """Convert a checkpoint file that others released into a checkpoint folder."""
    from qsep.separation.published.reader import convert_to_folder

    from ...inference.model_settings import changes_of

    convert_to_folder(file, out, changes_of(settings or []))
    print(f"checkpoint: {out}")


def push_model(
    folder: Annotated[Path, typer.Argument(help="A checkpoint folder, as 'qsep train' writes it.")],
    name: Annotated[str, typer.Argument(help="ORG/NAME on the Hugging Face hub.")],
    private: Annotated[
        bool, typer.Option("--private", help="Make the repository private.")
    ] = False,
    message: Annotated[
        str, typer.Option("--message", help="Commit message.")
    ] = "A checkpoint of qsep",
) -> None:
    """Publish a checkpoint folder on the Hugging Face hub (log in first: hf auth login)."""
    from qsep.separation.api.hub_model import push

    print(f"published: {push(folder, name, private or None, message)}")
    print(f"use it: qsep separate recording.wav -q 'a dog barking' -m {name}")

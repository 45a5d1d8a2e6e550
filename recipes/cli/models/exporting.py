"""`qsep models export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qsep.separation import DEFAULT_MODEL

from ..options import OverwriteOption


def export_model(
    name: Annotated[
        str, typer.Argument(help="A name of 'qsep models list', a checkpoint folder, or ORG/NAME.")
    ] = DEFAULT_MODEL,
    out: Annotated[Path, typer.Option("--out", "-o", help="File of the graph.")] = Path(
        "model.onnx"
    ),
    sentences: Annotated[
        bool,
        typer.Option(
            help="Also write STEM.sentences.onnx, STEM.tokenizer.json and STEM.book.json, which turn words "
            "into query vectors, for models with a phrase book."
        ),
    ] = True,
    half: Annotated[
        bool,
        typer.Option(
            "--half", help="Store weights as 16-bit floats: half the size, about 0.1 % off."
        ),
    ] = False,
    graph_only: Annotated[
        bool,
        typer.Option(
            "--graph-only",
            help="Write no weights: the graph.onnx of a checkpoint folder, by which qsep separate runs it "
            "without PyTorch.",
        ),
    ] = False,
    page: Annotated[
        Path | None,
        typer.Option(
            help="Write instead a web page into this folder, on which the model separates recordings in the "
            "visitor's browser; any file server can serve it."
        ),
    ] = None,
    onnxruntime_web: Annotated[
        Path | None,
        typer.Option(help="For the page: the npm package's file, where npm cannot fetch it."),
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Write a model as ONNX graphs: waveform (1, c, t) and queries (s, d) in, targets and rest out.

    The STFT and its inverse are part of the graph; length and numbers of channels and queries are free. This
    takes a minute or two.
    """
    from qsep.separation.export.files import export_files, names_of

    if page is not None:
        from ...page.write import how_to_serve, write_page

        write_page(name, page, onnxruntime_web)
        print(how_to_serve(page))
        return
    planned = names_of(out, sentences and not graph_only)
    for path in planned:
        if path.is_dir():
            raise ValueError(f"-o {path} is a folder: name a file, as {path / 'model.onnx'}")
        if path.exists() and not overwrite:
            raise ValueError(f"{path} exists: add --overwrite or choose another name with -o")
    for path in export_files(name, out, sentences and not graph_only, half, graph_only):
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")

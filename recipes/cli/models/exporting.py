"""`qsep models export`: a model as files for ONNX Runtime, a browser or another program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qsep.separation import DEFAULT_MODEL

from ..options import OverwriteOption


def export_model(
    name: Annotated[str, typer.Argument(help="As -m of qsep separate takes it.")] = DEFAULT_MODEL,
    out: Annotated[Path, typer.Option("--out", "-o", help="The graph's file.")] = Path(
        "model.onnx"
    ),
    sentences: Annotated[
        bool,
        typer.Option(
            help="Write also STEM.sentences.onnx, STEM.tokenizer.json and STEM.book.json, by which words "
            "become query vectors, where the model reads words as classes."
        ),
    ] = True,
    half: Annotated[
        bool, typer.Option("--half", help="Weights as 16-bit floats: half the size, 0.1 % off.")
    ] = False,
    graph_only: Annotated[
        bool,
        typer.Option(
            "--graph-only",
            help="No weights: FOLDER/graph.onnx of a checkpoint, by which qsep separate runs it without "
            "PyTorch.",
        ),
    ] = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Write a model as ONNX graphs: waveform (1, c, t) and queries (s, d) in, targets and rest out.

    Short-time Fourier transforms are inside, any length, number of channels and of queries will do. Takes a
    minute or two.
    """
    from qsep.separation.export.files import export_files, names_of

    planned = names_of(out, sentences and not graph_only)
    for path in planned:
        if path.exists() and not overwrite:
            raise ValueError(f"{path} exists: add --overwrite or choose another name with -o")
    for path in export_files(name, out, sentences and not graph_only, half, graph_only):
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")

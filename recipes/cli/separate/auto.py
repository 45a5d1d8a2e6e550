"""`qsep auto`: every sound of a recording in a file of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..options import SOME_FAILED, DeviceOption, ModelOption, OverwriteOption
from .options import FormatOption, NameOption


def auto(
    inputs: Annotated[list[Path], typer.Argument(help="Recordings to search.", metavar="INPUT...")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("."),
    model: ModelOption = "sounds21",
    tagger: Annotated[
        Path | None,
        typer.Option(
            help="Cnn14_mAP=0.431.pth of PANNs, or its folder, to detect the 527 classes of AudioSet. "
            "Default: the model detects the classes that it was trained on."
        ),
    ] = None,
    level: Annotated[
        list[str] | None,
        typer.Option(
            help="Level of AudioSet's hierarchy: 1 for its seven roots, 2, 3 … below them, or leaf "
            "(default) for the most specific classes. Repeatable."
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=1e-6, max=1, help="Probability from which a class counts as present."),
    ] = None,
    name: NameOption = None,
    file_format: FormatOption = None,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per recording.")
    ] = False,
) -> None:
    """Detect the sounds of recordings and write each to a file of its own; no query is needed.

    Writes STEM.SOUND.wav in the recording's own sample rate, channels, length and sample format,
    STEM.auto.json with what was detected and when, and a timeline as STEM.auto.png.
    """
    from ...inference.auto import Task, check_inputs, parse_levels, separate_all
    from ...inference.output import Output, is_file_name, naming_from

    if is_file_name(out):
        raise ValueError(f"-o {out} is a file: 'qsep auto' writes several, so give -o a folder")
    inputs = list(dict.fromkeys(inputs))
    naming = naming_from(name, file_format)
    output = Output(out, naming=naming, overwrite=overwrite, json=json_output)
    task = Task(output, parse_levels(level or ["leaf"]))
    check_inputs(inputs, task)

    from qsep.separation.api import load
    from qsep.separation.detection.nodes import NodeSeparator

    separator = NodeSeparator(load(model, device), tagger, threshold)
    if not separate_all(separator, inputs, task):
        sys.exit(SOME_FAILED)

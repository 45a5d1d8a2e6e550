"""`qsep auto`: every sound of a recording in a file of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..options import SOME_FAILED, DeviceOption, ModelOption, OverwriteOption


def auto(
    inputs: Annotated[list[Path], typer.Argument(help="Recordings.", metavar="INPUT...")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("."),
    model: ModelOption = "sounds21",
    tagger: Annotated[
        Path | None,
        typer.Option(
            help="Cnn14_mAP=0.431.pth of PANNs, or its folder, to detect AudioSet's 527 classes; "
            "default: what the model itself knows."
        ),
    ] = None,
    level: Annotated[
        list[str] | None,
        typer.Option(
            help="Of AudioSet's hierarchy: 1 for its seven roots, 2, 3 … below them, or leaf (default) for "
            "each sound by itself. Repeatable."
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=1e-6, max=1, help="Probability from which on a sound counts as there."),
    ] = None,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
    json_output: Annotated[
        bool, typer.Option("--json", help="One JSON object an input on standard output.")
    ] = False,
) -> None:
    """Find the sounds of recordings and write one file for each, without being asked for any.

    Writes STEM.SOUND.wav in the recording's own sample rate, channels, length and sample format,
    STEM.auto.json, which says what was found when, and the timeline as STEM.auto.png.
    """
    from ...inference.auto import Task, check_inputs, parse_levels, separate_all
    from ...inference.output import Output

    inputs = list(dict.fromkeys(inputs))
    output = Output(out, overwrite=overwrite, json=json_output)
    task = Task(output, parse_levels(level or ["leaf"]))
    check_inputs(inputs, task)

    from qsep.separation.api import load
    from qsep.separation.detection.nodes import NodeSeparator

    separator = NodeSeparator(load(model, device), tagger, threshold)
    if not separate_all(separator, inputs, task):
        sys.exit(SOME_FAILED)

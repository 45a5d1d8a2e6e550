"""What several of qsep's commands share: options, and exit codes."""

from __future__ import annotations

from typing import Annotated

import typer

USAGE, SOME_FAILED = 2, 1  # exit codes

ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="A name of 'qsep models list' (published ones are fetched at first use), a checkpoint's "
        "folder, ORG/NAME[@REVISION] of the Hugging Face hub, or a released file.",
    ),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps …")]
OverwriteOption = Annotated[bool, typer.Option(help="Replace existing files.")]

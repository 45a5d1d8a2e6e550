"""Options, KEY=VALUE arguments and exit codes that several commands share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated

import typer

from .completion import model_names, recipe_names

USAGE, SOME_FAILED = 2, 1  # exit codes
NUM_CPUS = os.cpu_count() or 1

ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        autocompletion=model_names,
        help="A name of 'qsep models list' (published models are downloaded at first use), a checkpoint "
        "folder, ORG/NAME[@REVISION] on the Hugging Face hub, or a released checkpoint file.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A setting of the model that differs from the stored one, as separator.exact=true or "
        "encoder.prompts=ensemble. Repeatable.",
    ),
]
RecipeArgument = Annotated[
    str,
    typer.Argument(
        help="A TOML file, or the name of a recipe in 'qsep recipes list'.",
        autocompletion=recipe_names,
    ),
]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        help="Changes to the recipe, as train.steps=100.", metavar="[TABLE.KEY=VALUE]..."
    ),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps …")]
AllowOutsideOption = Annotated[
    bool,
    typer.Option(
        "--allow-outside",
        help="Let lists name files outside their folders, by .. or absolute paths.",
    ),
]
OverwriteOption = Annotated[bool, typer.Option(help="Replace existing files.")]
RuntimeOption = Annotated[
    str,
    typer.Option(
        help="What runs the network: torch, or on the CPU openvino or onnx. With auto, qsep separate uses "
        "the default model's stored graph if that suffices, else torch."
    ),
]
PrecisionOption = Annotated[
    str, typer.Option(help="fp32 or bf16. bf16 is faster on CPUs that support it; about 1 % off.")
]


def as_pairs(settings: Sequence[str]) -> dict[str, str]:
    """KEY=VALUE arguments as a dictionary; ValueError for one without a "="."""
    for setting in settings:
        if "=" not in setting:
            raise ValueError(f"{setting!r}: expected KEY=VALUE")
    return {key: value for key, _, value in (setting.partition("=") for setting in settings)}

"""`qsep train`."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from .options import AllowOutsideOption, OverridesArgument, RecipeArgument


def train(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Folder of the run; a run that it already holds is continued."
        ),
    ] = ...,  # type: ignore[assignment]
    accelerator: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    devices: Annotated[int, typer.Option(help="How many accelerators to use.")] = 1,
    allow_outside: AllowOutsideOption = False,
) -> None:
    """Train a separator by a recipe, or continue an interrupted run exactly where it stopped."""
    if find_spec("lightning_fabric") is None or find_spec("matplotlib") is None:
        raise ValueError("training needs more packages: pip install 'qsep[train]'")
    from qsep.separation.storage.listed_paths import outside_allowed

    from ..training.config import read_recipe
    from ..training.loop import Stop
    from ..training.loop import train as run

    parsed, content = read_recipe(recipe, overrides)
    stop = Stop()
    with outside_allowed(allow_outside):
        folder = run(parsed, content, out, accelerator, devices, stop=stop)
    if stop.signal:
        print("qsep: stopped and saved; run the same command to continue", file=sys.stderr)
        sys.exit(128 + stop.signal)
    if folder is not None:
        print(f"checkpoint: {folder}")

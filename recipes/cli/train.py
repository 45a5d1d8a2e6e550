"""`qsep train`."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from ..errors import print_error
from .options import AllowOutsideOption, OverridesArgument, RecipeArgument

OUT_OF_MEMORY = (
    "out of memory: train a batch in parts, one after the other, by train.accumulate=2 or more, "
    "or use a smaller train.batch_size"
)


def train(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    *,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Folder of the run; a run that it already holds is continued."
        ),
    ],
    accelerator: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    devices: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Accelerators, or processes on CPUs, of each machine. Default: torchrun's, else 1.",
        ),
    ] = None,
    nodes: Annotated[
        int | None, typer.Option(min=1, help="Machines. Default: torchrun's number, else 1.")
    ] = None,
    max_time: Annotated[
        str | None,
        typer.Option(
            metavar="HH:MM",
            help="Time limit in hours:minutes, or minutes: save and exit before, with exit code 75.",
        ),
    ] = None,
    allow_outside: AllowOutsideOption = False,
) -> None:
    """Train a separator by a recipe, or continue an interrupted run exactly where it stopped.

    Exit codes: 0 the last step is reached; 75 out of time (--max-time) and saved, 128 + N ended by signal N
    and saved, 1 failed while running, as with a full disk: the same command continues; 3 diverged; 2 the
    recipe, data or folder cannot be used.
    """
    from ..training.devices import cluster_size, is_first_process

    first = is_first_process()
    if first:  # at once, for PyTorch takes seconds to import
        print(f"recipe {recipe}, folder {out}", flush=True)
    if find_spec("lightning_fabric") is None or find_spec("matplotlib") is None:
        raise ValueError("training needs more packages: pip install 'qsep[train]'")
    from qsep.separation.out_of_memory import is_out_of_memory
    from qsep.separation.storage.exclusive import alone_in
    from qsep.separation.storage.listed_paths import outside_allowed

    from ..training.check import ready
    from ..training.config import read_recipe, with_local_data
    from ..training.estimate import estimate
    from ..training.loop import train as run
    from ..training.stopping import DIVERGED, FAILED, OUT_OF_TIME, DivergedError, Stop, seconds_of

    stop = Stop(seconds_of(max_time) if max_time else None)
    parsed, content = read_recipe(recipe, overrides)
    devices, nodes = cluster_size(devices, nodes)
    try:
        with outside_allowed(allow_outside), alone_in(out) if first else nullcontext():
            parsed = with_local_data(parsed)
            for finding in ready(parsed, out) if first else ():
                print(f"ok: {finding}", flush=True)
            if first:
                print(estimate(parsed, accelerator, devices * nodes), flush=True)
            folder = run(parsed, content, out, accelerator, devices, nodes, stop=stop)
    except Exception as error:
        failure = error
        if is_out_of_memory(error):
            failure = ValueError(OUT_OF_MEMORY)
            failure.__cause__ = error
        if not stop.begun:
            raise failure from failure.__cause__
        print_error(failure)
        sys.exit(DIVERGED if isinstance(error, DivergedError) else FAILED)
    if folder is None:  # the first of several processes prints for all
        return
    if stop.signal or stop.out_of_time:
        why = "stopped" if stop.signal else "out of time"
        print(f"qsep: {why} and saved; run the same command to continue", file=sys.stderr)
        sys.exit(128 + stop.signal if stop.signal else OUT_OF_TIME)
    print(f"checkpoint: {folder}")

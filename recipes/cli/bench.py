"""`qsep bench`: many separators under one recipe. A thin shell, as main.py; imports wait until needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

bench_app = typer.Typer(no_args_is_help=True, help="Compare separators trained alike.")


@bench_app.callback()
def bench() -> None:
    """Compare separators trained alike."""


@bench_app.command("backbones")
def backbones(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Changes to the recipe, as train.steps=100.", metavar="[KEY=VALUE]..."),
    ] = None,
    data: Annotated[Path, typer.Option(help="The folder of sounds150.")] = ...,  # type: ignore[assignment]
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder; continues what is there.")
    ] = Path("bench/backbones"),
    budget: Annotated[str, typer.Option(help="small, 3 GMAC a second, or large, 15.")] = "small",
    only: Annotated[
        list[str] | None, typer.Option(help="This separator alone. Repeatable; default: all.")
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="Of a training run. Repeatable; default: 0.")
    ] = None,
    manifest: Annotated[
        list[str] | None,
        typer.Option(
            help="Name or file of what to score on. Repeatable; default: dev-2, dev-families."
        ),
    ] = None,
    recipe: Annotated[str, typer.Option(help="Name or file of the recipe for all.")] = "backbones",
    accelerator: Annotated[str, typer.Option(help="What trains: auto, cpu, cuda …")] = "auto",
    costs: Annotated[
        bool, typer.Option("--costs", help="Measure costs alone; train nothing.")
    ] = False,
) -> None:
    """Train each separator by one recipe; quality against parameters, MACs, speed and memory."""
    from ..benchmarks.quality.backbones import (
        MANIFESTS,
        describe_cost,
        entrants,
        measure_cost,
        run_bench,
    )

    chosen = entrants(budget, only or ())
    if costs:
        for entrant in chosen:
            print(f"{entrant.name}: {describe_cost(measure_cost(entrant.settings))}", flush=True)
        return
    run_bench(
        chosen,
        out,
        data,
        seed or (0,),
        manifest or MANIFESTS,
        recipe,
        overrides or (),
        accelerator,
    )
    print(f"{out / 'backbones.md'}")

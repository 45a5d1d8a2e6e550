"""`qsep bench`: compare separators trained with one recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

bench_app = typer.Typer(no_args_is_help=True, help="Compare separators trained with one recipe.")


@bench_app.callback()
def bench() -> None:
    """Compare separators trained with one recipe."""


@bench_app.command("backbones")
def backbones(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Changes to the recipe, as train.steps=100.", metavar="[KEY=VALUE]..."),
    ] = None,
    *,
    data: Annotated[Path, typer.Option(help="Folder of the sounds150 corpus.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Folder of the results; a run that it already holds is continued."
        ),
    ] = Path("bench/backbones"),
    budget: Annotated[
        str,
        typer.Option(
            help="small (3 GMAC per second of audio), large (15), or stereo (small ones for two "
            "microphones; with --recipe backbones-stereo)."
        ),
    ] = "small",
    only: Annotated[
        list[str] | None, typer.Option(help="Separators to compare. Repeatable. Default: all.")
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="Seed of a training run. Repeatable. Default: 0.")
    ] = None,
    manifest: Annotated[
        list[str] | None,
        typer.Option(
            help="Manifest to score on, by name or file. Repeatable. Default: dev-2 and dev-families, or "
            "pairs of the recipe's kinds if it lists any."
        ),
    ] = None,
    recipe: Annotated[str, typer.Option(help="Name or file of the common recipe.")] = "backbones",
    accelerator: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    costs: Annotated[
        bool,
        typer.Option(
            "--costs",
            help="Only measure costs, which replace those of the results in --out; train nothing.",
        ),
    ] = False,
) -> None:
    """Train each separator with one recipe; compare quality, parameters, MACs, speed and memory."""
    from ..benchmarks.quality.backbones import Bench, entrants

    chosen = entrants(budget, only or ())
    bench = Bench(
        out,
        data,
        recipe,
        tuple(overrides or ()),
        tuple(seed or (0,)),
        tuple(manifest or ()),
        accelerator,
    )
    if costs:
        bench.measure_costs(chosen)
        return
    failed = bench.run(chosen)
    if failed:
        raise ValueError(f"{len(failed)} of {len(chosen)} separators failed: {', '.join(failed)}")
    print(f"{out / 'backbones.md'}")

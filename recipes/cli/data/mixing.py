"""`qsep data mix`: mixtures of a manifest or of a training recipe as audio files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import NUM_CPUS, AllowOutsideOption

NUM_OF_RECIPE = 10  # mixtures that are rendered unless --number says otherwise


def mix_data(
    mixtures: Annotated[
        str,
        typer.Argument(
            help="A CSV list of mixtures, the name of one in the package, as sounds150-dev-2, or a training "
            "recipe: its name, or a TOML file.",
            metavar="MIXTURES",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder to write, with a subfolder per mixture.")
    ],
    data: Annotated[
        Path | None,
        typer.Argument(
            help="The folder with the recordings. For a recipe, the default is its data.folder.",
            metavar="DATA",
        ),
    ] = None,
    number: Annotated[
        int | None,
        typer.Option(
            "--number",
            "-n",
            min=1,
            help="Mixtures to render. Default: all of a manifest, 10 of a recipe.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="TABLE.KEY=VALUE",
            help="A change to the recipe, as mix.room.probability=1. Repeatable.",
        ),
    ] = None,
    validation: Annotated[
        bool, typer.Option("--validation", help="A recipe's validation mixtures.")
    ] = False,
    allow_outside: AllowOutsideOption = False,
    jobs: Annotated[
        int, typer.Option(min=1, help="Mixtures of a manifest made in parallel.")
    ] = NUM_CPUS,
) -> None:
    """Render mixtures as audio files, to listen to them or for other programs.

    Of a manifest: ID/mixture.wav, target.wav, rest.wav and query.txt. Of a recipe: ID/mixture.wav, a file for
    each of its sources, and queries.txt; as they are drawn for training, with all effects.
    """
    from qsep.evaluation.protocols import load_items
    from qsep.separation.storage.exclusive import alone_in
    from qsep.separation.storage.listed_paths import outside_allowed

    from ...data.corpus.rendering import render_folders, render_items
    from ...inference.batch import progress_bar
    from ...training.config import CONFIGS_DIR, read_recipe
    from ...training.preview import preview

    is_recipe = mixtures.endswith(".toml") or (CONFIGS_DIR / f"{mixtures}.toml").is_file()
    with outside_allowed(allow_outside), alone_in(out), progress_bar(mixtures) as progress:
        if is_recipe:
            folder = [] if data is None else [f"data.folder={str(data)!r}"]
            recipe, _ = read_recipe(mixtures, [*(settings or []), *folder])
            ids = render_items(preview(recipe, validation), out, number or NUM_OF_RECIPE, progress)
        elif settings or validation:
            raise ValueError(f"{mixtures} is no recipe: leave --set and --validation out")
        elif data is None:
            raise ValueError(f"{mixtures}: name the folder with its recordings after it")
        else:
            protocol, _, name = mixtures.partition("-")
            if protocol not in ("sounds21", "sounds150") or Path(mixtures).is_file():
                protocol, name = "sounds150", mixtures
            items = load_items(protocol, data, Path(name))
            ids = list(render_folders(items, out, jobs, progress, number))
    print(f"{out}: {len(ids)} mixtures")

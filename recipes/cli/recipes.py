"""`qsep recipes`: list, show, copy and check the recipes that can be trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import OverridesArgument, RecipeArgument

recipes_app = typer.Typer(no_args_is_help=True, help="List, show, copy and check training recipes.")


@recipes_app.command("list")
def list_recipes() -> None:
    """List the recipes that come with the package: name, separator and title."""
    from ..training.config import CONFIGS_DIR, read_recipe

    for name in sorted(path.stem for path in CONFIGS_DIR.glob("*.toml")):
        recipe, _ = read_recipe(name)
        print(f"{name:20} {recipe.model['kind']:14} {recipe.card.get('title', '')}".rstrip())


@recipes_app.command("show")
def show_recipe(recipe: RecipeArgument, overrides: OverridesArgument = None) -> None:
    """Print a recipe in full: with the recipes that it extends and with your changes."""
    from ..training.config import read_recipe
    from ..training.toml_text import toml_text

    _, content = read_recipe(recipe, overrides)
    print(toml_text(content), end="")


@recipes_app.command("copy")
def copy_recipe(
    recipe: RecipeArgument,
    file: Annotated[Path, typer.Argument(help="The TOML file to write. It must not exist.")],
) -> None:
    """Copy a recipe's file, with its comments, as a start for a recipe of your own."""
    from qsep.separation.storage.temporary import write_atomically

    from ..training.config import find_recipe

    target = file if file.suffix == ".toml" else file.with_name(f"{file.name}.toml")
    if target.exists():
        raise ValueError(f"{target} exists: choose another name")
    text = find_recipe(recipe).read_text("utf-8")
    write_atomically(target, lambda path: path.write_text(text, encoding="utf-8"))
    print(f"recipe: {target}; try it with: qsep recipes check {target}")


@recipes_app.command("check")
def check_recipe(recipe: RecipeArgument, overrides: OverridesArgument = None) -> None:
    """Check whether a recipe can be trained here: settings, recordings, labels, phrases, initial weights.

    Exit code 2 if a check fails.
    """
    from ..training.check import check
    from ..training.config import read_recipe, with_local_data

    parsed, _ = read_recipe(recipe, overrides)
    parsed = with_local_data(parsed)
    faults = 0
    for finding in check(parsed):
        faults += not finding.good
        print(f"{'ok' if finding.good else 'FAULT'}: {finding.text}")
    if faults:
        raise ValueError(f"{recipe}: {faults} of the checks failed")

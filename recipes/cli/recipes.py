"""`qsep recipes`: what can be trained, and whether it can be here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

recipes_app = typer.Typer(no_args_is_help=True, help="What can be trained: recipes.")
RecipeArgument = Annotated[str, typer.Argument(help="A TOML file or a shipped recipe's name.")]
OverridesArgument = Annotated[
    list[str] | None, typer.Argument(help="table.key=value …", metavar="[KEY=VALUE]...")
]


@recipes_app.command("list")
def list_recipes() -> None:
    """The recipes that come with the package."""
    from ..training.config import CONFIGS_DIR, read_recipe

    for name in sorted(path.stem for path in CONFIGS_DIR.glob("*.toml")):
        recipe, _ = read_recipe(name)
        print(f"{name:20} {recipe.model['kind']:14} {recipe.card.get('title', '')}".rstrip())


@recipes_app.command("show")
def show_recipe(recipe: RecipeArgument, overrides: OverridesArgument = None) -> None:
    """A recipe as it would be trained: with what it extends, and with your changes."""
    from ..training.config import read_recipe
    from ..training.toml_text import toml_text

    _, content = read_recipe(recipe, overrides)
    print(toml_text(content), end="")


@recipes_app.command("copy")
def copy_recipe(
    recipe: RecipeArgument,
    file: Annotated[Path, typer.Argument(help="The TOML file to write, which must not be there.")],
) -> None:
    """Copy a recipe's file, comments and all, to be changed and trained as a recipe of your own."""
    from qsep.separation.storage.temporary import write_atomically

    from ..training.config import find_recipe

    target = file if file.suffix == ".toml" else file.with_name(f"{file.name}.toml")
    if target.exists():
        raise ValueError(f"{target} is there: choose another name")
    text = find_recipe(recipe).read_text("utf-8")
    write_atomically(target, lambda path: path.write_text(text, encoding="utf-8"))
    print(f"recipe: {target}; try it with: qsep recipes check {target}")


@recipes_app.command("check")
def check_recipe(recipe: RecipeArgument, overrides: OverridesArgument = None) -> None:
    """Whether a recipe could be trained here: settings, recordings, labels, wordings, start weights."""
    from ..training.check import check
    from ..training.config import read_recipe

    parsed, _ = read_recipe(recipe, overrides)
    faults = 0
    for finding in check(parsed):
        faults += not finding.good
        print(f"{'ok' if finding.good else 'FAULT'}: {finding.text}")
    if faults:
        raise ValueError(f"{recipe}: {faults} of the checks failed")

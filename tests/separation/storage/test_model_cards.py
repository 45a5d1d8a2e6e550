"""Model cards of the shipped checkpoints."""

import json
from pathlib import Path

import pytest
from repository import ROOT

import qsep.queries
import qsep.separation
from qsep.recipes.training.config import read_recipe
from qsep.recipes.training.output.model_card import model_card
from qsep.separation.storage.config import renamed
from qsep.separation.storage.model_card import named

CONFIGS = ROOT / "recipes" / "configs"
FOLDERS = sorted(
    folder
    for package in (qsep.queries, qsep.separation)
    for folder in (Path(package.__path__[0]) / "checkpoints").iterdir()
    if (folder / "config.json").is_file()
)


@pytest.mark.parametrize("folder", FOLDERS, ids=[folder.name for folder in FOLDERS])
def test_a_shipped_card_is_made_of_its_recipe_and_config(folder: Path) -> None:
    description = renamed(json.loads((folder / "config.json").read_text("utf-8")))
    recipe, _ = read_recipe(str(CONFIGS / f"{folder.name}.toml"))
    card = (folder / "README.md").read_text("utf-8")
    card_text = model_card(description, recipe, recordings_of(card))
    # A run's card says FOLDER; a shipped one may name the model.
    assert named(card, folder.name) == named(card_text, folder.name)


def recordings_of(card: str) -> list[str]:
    """The list of training recordings, which cannot be made again without them."""
    section = card.partition("\n## Recordings\n\n")[2].partition("\n\n")[0]
    return section.splitlines()

"""docs/guide/mixing.md: its example has every setting and is what a recipe may contain."""

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest
import torch
from repository import ROOT

from qsep.recipes.data.effects.config import EffectsConfig
from qsep.recipes.training.build import build_book, build_data
from qsep.recipes.training.check import mixtures_known
from qsep.recipes.training.config import read_recipe, recipe_from
from qsep.separation.components import merged

PAGE = (ROOT / "docs" / "guide" / "mixing.md").read_text("utf-8")
(EXAMPLE,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
_, SMOKE = read_recipe("smoke")


def test_the_example_has_every_setting_of_every_effect() -> None:
    tables = tomllib.loads(EXAMPLE)["mix"]
    assert {name: set(table) for name, table in tables.items()} == {
        name: set(table) for name, table in dataclasses.asdict(EffectsConfig()).items()
    }


def test_the_example_stands_in_the_order_in_which_effects_apply() -> None:
    assert list(tomllib.loads(EXAMPLE)["mix"]) == list(dataclasses.asdict(EffectsConfig()))


def test_a_recipe_with_the_example_mixes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (pair,) = re.findall(r'"rain" = \[.*?\]', EXAMPLE)
    (tmp_path / "wordings.toml").write_text(pair)
    recipe = recipe_from(merged(SMOKE, tomllib.loads(EXAMPLE)), "mine")
    assert mixtures_known(recipe) == (
        "mixtures of 10080 samples, with mix.beats, mix.device, mix.room, mix.levels, mix.queries"
    )
    data = build_data(recipe, build_book(recipe), 8000, validation=False)
    batch = data.collate([data[draw] for draw in range(6)])
    kinds = {query.kind for row in batch.queries for query in row if query}
    assert kinds == {"text", "mixed"}
    assert torch.equal(batch.mixture, batch.sources.sum(dim=1))
    assert 0.05 < batch.mixture.abs().max() <= 0.9 + 1e-6

"""The loader's benchmark: what it counts, against arithmetic by hand, and that its parts exist."""

import ast

import pytest
from repository import ROOT

from qsep.recipes.benchmarks.loader import (
    PARTS,
    items_a_second,
    per_core,
    table,
    time_of_parts,
)
from qsep.recipes.training.build import build_book, build_data
from qsep.recipes.training.config import read_recipe

RECIPES = ROOT / "recipes"


@pytest.mark.parametrize("function", [each for part in PARTS.values() for each in part])
def test_each_timed_function_is_defined_in_one_file(function: tuple[str, str]) -> None:
    end, name = function
    files = [
        path
        for path in (*RECIPES.rglob("*.py"), *(RECIPES.parent / "separation").rglob("*.py"))
        if str(path).endswith(f"/{end}")
    ]
    assert len(files) == 1
    defined = [
        node.name
        for node in ast.walk(ast.parse(files[0].read_text("utf-8")))
        if isinstance(node, ast.FunctionDef)
    ]
    assert defined.count(name) == 1


def test_the_table_has_milliseconds_and_shares() -> None:
    parts = {"cut": 3.0, "room": 6.0, "collate": 1.0}
    assert per_core(parts) == pytest.approx(100)
    assert "| room | 6.00 | 60% |" in table(parts)
    assert table(parts).endswith("| total | 10.00 | 100.0 items/s a core |")


def test_parts_that_a_recipe_uses_are_timed() -> None:
    settings = ["mix.room.probability=1", "mix.levels.rule=snr", "augment.filter_probability=1"]
    recipe, _ = read_recipe("smoke", settings)
    data = build_data(recipe, build_book(recipe), 8000, validation=False)
    parts = time_of_parts(data, recipe, 8)
    assert set(parts) == {"cut", "filters", "room", "levels", "mix", "collate"}
    assert items_a_second(data, recipe, 8, num_workers=0) > 0

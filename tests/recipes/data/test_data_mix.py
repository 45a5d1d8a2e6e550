"""`qsep data mix` of a recipe: what is drawn for training, as files."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from command import Run

from qsep.recipes.training.build import build_book, build_data
from qsep.recipes.training.config import read_recipe


def test_a_recipes_items_are_rendered_as_they_are_trained_on(qsep: Run, folder: Path) -> None:
    sets = ["mix.device.mixture_probability=1.0", "mix.levels.rule=loudness"]
    done = qsep("data", "mix", "smoke", "-o", "out", "-n", "2", *(f"--set={each}" for each in sets))
    assert done.code == 0, done.err
    assert done.out == "out: 2 mixtures\n"
    recipe, _ = read_recipe("smoke", sets)
    data = build_data(recipe, build_book(recipe), 8000, validation=False)
    for draw in range(2):
        sources, queries, name = data[draw]
        mixture, rate = soundfile.read(folder / "out" / name / "mixture.wav", dtype="float32")
        assert rate == 8000
        assert np.array_equal(mixture, sources.sum(dim=0)[0].numpy())
        lines = (folder / "out" / name / "queries.txt").read_text().splitlines()
        for line in lines:
            index, words, *absent = line.split("\t")
            query = queries[int(index)]
            assert words == ("no query" if query is None else f"text: {query.name}")
            file = folder / "out" / name / f"{index}.wav"
            assert file.is_file() == (not absent) == bool(sources[int(index)].any())
            if not absent:
                source = soundfile.read(file, dtype="float32")[0]
                assert np.array_equal(source, sources[int(index), 0].numpy())
        assert len(lines) >= 3
        assert lines[-1] == f"{len(queries) - 1}\tno query"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["smoke", "--set", "mix.room.size=3"],
            r"recipe smoke, [mix.room]: unknown setting 'size'",
        ),
        (["sounds150-dev-2"], "sounds150-dev-2: name the folder with its recordings after it"),
        (
            ["sounds150-dev-2", ".", "--validation"],
            "is no recipe: leave --set and --validation out",
        ),
        (["sounds21", "nowhere"], "nowhere/clips.csv: no such file"),
    ],
)
def test_a_mistake_is_one_line(qsep: Run, folder: Path, arguments: list[str], message: str) -> None:
    done = qsep("data", "mix", *arguments, "-o", "out")
    assert done.code == 2
    assert message in done.error
    assert not (folder / "out").exists()

"""`qsep recipes`: list, show, copy, check."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command import Run

from qsep.recipes.training.config import CONFIGS_DIR, read_recipe
from qsep.recipes.training.toml_text import toml_text


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS_DIR.glob("*.toml")))
def test_a_recipe_written_as_toml_reads_back_the_same(name: str) -> None:
    _, content = read_recipe(name)
    assert tomllib.loads(toml_text(content)) == content


def test_values_of_every_kind_survive_toml() -> None:
    content = {
        "a": {"x": 1e-05, "y": True, "z": 'q"\\é', "list": [[1, 2.5], ["b"]], "empty": {}},
        "b": {"deep": {"odd key": [], "long": ["word" * 9] * 9}},
    }
    assert tomllib.loads(toml_text(content)) == content


def test_list_names_every_shipped_recipe(qsep: Run) -> None:
    done = qsep("recipes", "list")
    names = [line.split()[0] for line in done.out.splitlines()]
    assert names == sorted(path.stem for path in CONFIGS_DIR.glob("*.toml"))


def test_show_prints_what_would_be_trained(qsep: Run) -> None:
    done = qsep("recipes", "show", "sounds21", "train.steps=7")
    shown = tomllib.loads(done.out)
    assert shown["train"]["steps"] == 7
    assert shown["separator"]["kind"] == "band_unet"  # of what it extends
    assert "extends" not in shown


def test_copy_is_the_file_itself_and_overwrites_nothing(qsep: Run, folder: Path) -> None:
    qsep("recipes", "copy", "smoke", "mine.toml")
    assert (folder / "mine.toml").read_bytes() == (CONFIGS_DIR / "smoke.toml").read_bytes()
    again = qsep("recipes", "copy", "smoke", "mine.toml")
    assert again.code == 2
    assert "mine.toml exists" in again.err


def test_check_accepts_what_can_be_trained_and_names_problems(qsep: Run, folder: Path) -> None:
    data = folder / "data"
    data.mkdir()
    rows = [f"{label}{n}.wav,{label},{split}" for label in "xy" for n, split in enumerate(["train", "dev"])]  # fmt: skip  # noqa: E501
    (data / "clips.csv").write_text("\n".join(["file,label,split", *rows]) + "\n")
    for row in rows:
        soundfile.write(data / row.split(",")[0], np.ones(99) * 0.1, 8000)
    sets = ["data.folder=data", "data.phrases=labels", "data.sounds=recordings", "data.labels=[]"]
    sets.append("mix.num_sources_weights=[1]")  # two sounds in a mixture, as there are labels
    good = qsep("recipes", "check", "smoke", *sets)
    assert good.code == 0, good.err
    assert "ok: data: 2 train, 2 dev" in good.out
    assert "ok: 2 labels" in good.out
    unknown = qsep("recipes", "check", "smoke", *sets, "data.labels=['x', 'z']")
    assert "FAULT: data/clips.csv: no clips of 'z' in split 'train'" in unknown.out
    (data / "y1.wav").unlink()
    bad = qsep("recipes", "check", "smoke", *sets, "train.start_from=nowhere")
    assert bad.code == 2
    assert "FAULT: data: 1 recordings are missing, first y1.wav" in bad.out
    assert "nowhere is not a checkpoint folder" in bad.out

"""The `qsep` command but for `qsep separate`: help, models, doctor, train, evaluate."""

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from command import Run, content, names, record
from tiny_settings import SETTINGS

from qsep.separation.published.registry import published_models
from qsep.separation.storage import shipped

MANIFEST = (
    "id,query,seconds,snr_db,target,target_start,target_label,"
    "interferers,interferer_starts,interferer_labels\n"
    "one,rain,0.2,0,rain.wav,0,rain,flute.wav,0,flute\n"
    "two,a flute,0.2,5,flute.wav,0.1,flute,rain.wav,0.05,rain\n"
)


def test_wrong_options_are_a_usage_error(qsep: Run) -> None:
    assert qsep("separate", "-q", "rain").code == 2
    assert qsep("separate", "a.wav", "-q", "rain", "--louder").code == 2
    assert qsep("seperate").code == 2


def test_help_needs_no_torch(folder: Path) -> None:
    program = (
        "import sys; from qsep.recipes.cli.main import main; sys.argv = ['qsep', '--help']\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules, 'numpy' in sys.modules)"
    )
    path = os.pathsep.join(part for part in sys.path if part)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == "0 False False"
    assert "separate" in done.stdout


def test_no_arguments_show_the_help(qsep: Run) -> None:
    done = qsep()
    shown = done.out + done.err
    for command in ("separate", "train", "evaluate", "models", "doctor"):
        assert command in shown


def test_models_list_shows_the_shipped_ones(
    qsep: Run, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "CHECKPOINTS_DIR", tiny_model.parent)
    done = qsep("models", "list")
    heading, first, *published = [line.split() for line in done.out.splitlines()]
    assert (done.code, heading) == (0, ["name", "here", "size", "licence", "knows"])
    assert (first[:2], first[-4:]) == (["tiny", "yes"], ["3", "kinds", "of", "sound"])
    assert [row[0] for row in published] == list(published_models())


def test_models_info_says_what_a_model_knows_and_who_made_it(qsep: Run, tiny_model: Path) -> None:
    lines = qsep("models", "info", tiny_model).out.splitlines()
    assert lines[0].startswith("tiny: band_unet, 8000 Hz, ")
    assert lines[1].startswith("queries: audio and text, by minilm (minilm-")
    assert lines[2] == "made by: qsep train tests, seed 7, 42 steps"
    assert lines[3:] == ["knows 3 kinds of sound:", "  dog", "  rain", "  violin"]


def test_models_info_says_what_the_encoder_reads_or_why_it_is_not_usable(
    qsep: Run, tiny_model: Path, folder: Path
) -> None:
    config = json.loads((tiny_model / "config.json").read_text())
    del config["separator"]["config"]["class_names"]  # no phrase book

    def info(**encoder: Any) -> str:
        shutil.copytree(tiny_model, folder / "other", dirs_exist_ok=True)
        changed = config | {"encoder": {"fingerprint": "f", "config": {}} | encoder}
        (folder / "other" / "config.json").write_text(json.dumps(changed))
        line = qsep("models", "info", folder / "other").out.splitlines()[1]
        return line.removeprefix("queries: ")

    assert info(kind="minilm") == "text, by minilm (f)"
    assert info(kind="joint") == "audio and text, by joint (f)"
    assert info(kind="resnet") == "image, by resnet (f)"
    assert info(kind="panns", config={"checkpoint": "gone.pth"}).startswith(
        "by panns (f), which cannot be used here: gone.pth: no such file"
    )


def test_models_info_as_json_is_the_configuration(qsep: Run, tiny_model: Path) -> None:
    shown = json.loads(qsep("models", "info", tiny_model, "--json").out)
    assert shown == json.loads((tiny_model / "config.json").read_text())


@pytest.mark.parametrize("name", ["nosuch", "."])
def test_models_info_of_no_model_is_one_line(qsep: Run, folder: Path, name: str) -> None:
    done = qsep("models", "info", name)
    assert done.code == 2
    assert name in done.error


def test_doctor_lists_versions_and_folders(qsep: Run, folder: Path) -> None:
    done = qsep("doctor")
    lines = done.out.splitlines()
    assert done.code == 0
    assert f"torch {version('torch')}" in lines
    assert f"embedding cache: {folder.parent / 'cache' / 'embeddings.sqlite'}" in lines


LEARNED = ("class_names", "num_phrases", "query_dim")  # settings that come from the phrase book
NETWORK = {key: value for key, value in SETTINGS["band_unet"].items() if key not in LEARNED}
RECIPE = """
[encoder]
kind = "minilm"
[data]
sounds = "synthetic"
phrases = "book.toml"
num_validation = 1
[mix]
segment_samples = 1024
num_sources_weights = [1.0]
num_queries = 2
[train]
steps = 2
batch_size = 2
precision = "32-true"
num_workers = 0
"""
BOOK = """
[labels.rain]
name = "rain"
phrases = ["rain"]
[labels.flute]
name = "a flute"
phrases = ["flute"]
[other]
phrases = ["traffic"]
"""


@pytest.fixture
def recipe(folder: Path) -> Path:
    network = "".join(f"{key} = {value}\n" for key, value in NETWORK.items())
    (folder / "tiny.toml").write_text(f'{RECIPE}[separator]\nkind = "band_unet"\n{network}')
    (folder / "book.toml").write_text(BOOK)
    return folder / "tiny.toml"


def test_a_trained_model_separates(qsep: Run, recipe: Path, folder: Path) -> None:
    pytest.importorskip("lightning_fabric", reason="training needs pip install qsep[train]")
    done = qsep("train", recipe, "train.steps=1", "-o", "run", "--accelerator", "cpu")
    assert done.code == 0
    assert done.out.splitlines()[-1] == "checkpoint: run/model"
    assert json.loads((folder / "run" / "recipe.json").read_text())["train"]["steps"] == 1
    record(folder / "a.wav")
    assert qsep("separate", "a.wav", "-q", "rain", "-m", "run/model").code == 0
    assert soundfile.info(folder / "a.rain.wav").frames == 3001


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nosuch",), "nosuch: no such recipe; shipped ones: "),
        (("tiny.toml", "steps=3"), "write overrides as table.key=value"),
        (("tiny.toml", "train.stepz=3"), "unknown setting 'stepz'"),
        (("tiny.toml", "train.steps=soon"), "setting steps is 'soon'; expected int"),
        (("tiny.toml", "separator.kind=unet"), "'unet' is not one of"),
        (("tiny.toml", "separator.depth=3"), "band_unet has no setting 'depth'"),
        (("tiny.toml", "encoder.kind=bert"), "'bert' is not one of"),
        (("tiny.toml", "data.phrases=nosuch"), "nosuch.toml: no such phrase book"),
        (
            ("tiny.toml", "data.sounds=recordings", "data.folder=no"),
            "data.folder: no is not a folder",
        ),
        (("tiny.toml", "train.precision=half"), "half"),
        (("tiny.toml", "--accelerator", "abacus"), "abacus"),
        (("tiny.toml", "--devices", "0"), "--devices"),
    ],
)
def test_a_wrong_recipe_is_one_line(
    qsep: Run, recipe: Path, folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    pytest.importorskip("lightning_fabric", reason="training needs pip install qsep[train]")
    if "--accelerator" not in arguments:
        arguments = (*arguments, "--accelerator", "cpu")
    done = qsep("train", *arguments, "-o", "run")
    assert done.code == 2
    assert message in done.error
    assert not (folder / "run").exists()


def test_training_without_its_packages_names_the_extra(
    qsep: Run, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qsep.recipes.cli.train.find_spec", lambda name: None)
    assert "pip install 'qsep[train]'" in qsep("train", recipe, "-o", "run").error


@pytest.fixture
def data(folder: Path) -> Path:
    """A folder of two recordings, and a manifest beside it."""
    (folder / "data").mkdir()
    rng = np.random.default_rng(2)
    for name in ("rain", "flute"):
        soundfile.write(folder / "data" / f"{name}.wav", rng.uniform(-0.5, 0.5, 16000), 32000)
    (folder / "m.csv").write_text(MANIFEST)
    return folder / "data"


EVALUATE = ("evaluate", "sounds21", "--data", "data", "-o", "out")


@pytest.mark.usefixtures("data")
def test_evaluation_of_a_model_writes_rows_and_a_summary(
    qsep: Run, tiny_model: Path, folder: Path
) -> None:
    done = qsep(*EVALUATE, "--manifest", "m.csv", "-m", tiny_model)
    assert done.code == 0
    assert "tiny on custom manifest (plain): 2 of 2 items; dB" in done.out
    kept = {
        f"audio/00000{i}.{role}.flac" for i in "01" for role in ("mixture", "target", "estimate")
    }
    assert names(folder / "out") == {"items.csv", "summary.json", "audio/audio.json", *kept}
    summary = json.loads((folder / "out" / "summary.json").read_text())
    assert (summary["num_scored"], summary["num_failed"]) == (2, 0)


@pytest.mark.usefixtures("data")
def test_evaluation_of_the_mixture_improves_nothing(qsep: Run, folder: Path) -> None:
    assert qsep(*EVALUATE, "--manifest", "m.csv", "-m", "mixture").code == 0
    summary = json.loads((folder / "out" / "summary.json").read_text())
    assert summary["overall"]["si_sdr_i"]["mean"] == 0


@pytest.mark.usefixtures("data")
def test_a_failed_item_of_an_evaluation_gives_exit_code_1(qsep: Run, folder: Path) -> None:
    soundfile.write(folder / "data" / "silent.wav", np.zeros(16000), 32000)
    row = "three,rain,0.2,0,rain.wav,0,rain,silent.wav,0,flute\n"
    (folder / "m.csv").write_text(MANIFEST + row)
    done = qsep(*EVALUATE, "--manifest", "m.csv", "-m", "mixture")
    assert done.code == 1
    assert "failed three: " in done.out
    assert "silent.wav is silent" in done.out


@pytest.mark.usefixtures("data")
def test_an_evaluation_replaces_another_only_with_overwrite(qsep: Run, folder: Path) -> None:
    assert qsep(*EVALUATE, "--manifest", "m.csv", "-m", "mixture").code == 0
    before = content(folder / "out")
    refused = qsep(*EVALUATE, "--manifest", "m.csv", "-m", "irm")
    assert (refused.code, "out holds another run" in refused.error) == (2, True)
    assert content(folder / "out") == before
    assert qsep(*EVALUATE, "--manifest", "m.csv", "-m", "irm", "--overwrite").code == 0


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (None, "m.csv: no such manifest"),
        ("", "m.csv lacks the columns id, "),
        (MANIFEST.splitlines()[0] + "\n", "m.csv has no rows"),
        (
            MANIFEST.replace("rain.wav", "snow.wav"),
            "1 of the 2 files that the list needs are not in data: snow.wav",
        ),
        (MANIFEST.replace(",0.2,5", ",soon,5"), "m.csv, line 3: "),
        (MANIFEST.replace(",0.2,5", ",-1,5"), "m.csv, line 3: expected seconds > 0"),
        (MANIFEST.replace(",0.05,", ",-0.05,"), "m.csv, line 3: expected starts >= 0, got [-0.05]"),
        (MANIFEST.replace(",0.2,5", ",0.2,nan"), "m.csv, line 3: expected a finite snr_db"),
        (MANIFEST.replace("two", "one"), "m.csv repeats id one"),
        (b"RIFF\xff\xfe\x00\x00WAVE", "m.csv is not a CSV file in UTF-8"),
        ('id\n"' + "x" * 200000, "m.csv lacks the columns"),
        (MANIFEST + "x" * 200000, "m.csv is not a CSV file"),
    ],
)
@pytest.mark.usefixtures("data")
def test_a_bad_manifest_is_one_line(
    qsep: Run, folder: Path, manifest: str | bytes | None, message: str
) -> None:
    (folder / "m.csv").unlink()
    if manifest is not None:
        data = manifest.encode() if isinstance(manifest, str) else manifest
        (folder / "m.csv").write_bytes(data)
    done = qsep(*EVALUATE, "--manifest", "m.csv", "-m", "mixture")
    assert done.code == 2
    assert message in done.error
    assert not (folder / "out").exists()


@pytest.mark.usefixtures("data")
def test_an_unknown_condition_is_one_line(qsep: Run) -> None:
    done = qsep(*EVALUATE, "--manifest", "m.csv", "-m", "mixture", "--condition", "hard")
    assert (done.code, "no condition is called 'hard'" in done.error) == (2, True)


@pytest.mark.usefixtures("data")
def test_an_output_folder_that_is_a_file_is_one_line(qsep: Run, folder: Path) -> None:
    (folder / "out").write_text("mine")
    done = qsep(*EVALUATE, "--manifest", "m.csv", "-m", "mixture")
    assert (done.code, done.error) == (2, "out is a file: give -o a folder")
    assert (folder / "out").read_text() == "mine"

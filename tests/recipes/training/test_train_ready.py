"""What `qsep train` checks and says before any work."""

import os
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from command import Run
from tiny import StubEncoder, tiny_separator
from tiny_settings import SETTINGS

from qsep.recipes.training import estimate as estimating
from qsep.recipes.training.build import mix_config
from qsep.recipes.training.check import check, output_writable, ready
from qsep.recipes.training.config import read_recipe, recipe_from
from qsep.recipes.training.devices import is_first_process
from qsep.recipes.training.estimate import BlankEncoder, estimate, noise_batch, trial
from qsep.recipes.training.tasks.separator import SeparatorTask

SMOKE, CONTENT = read_recipe("smoke")


def test_the_checks_of_the_smoke_recipe_pass(tmp_path: Path) -> None:
    *texts, space = ready(SMOKE, tmp_path / "run")
    assert texts[:4] == [
        "separator band_unet, 80 steps of 8 mixtures",
        "sounds are synthesised",
        "4 labels",
        "mixtures of 10080 samples",
    ]
    assert space.endswith(" GB free")
    assert not (tmp_path / "run").exists()


def test_the_first_fault_ends_the_checks(tmp_path: Path) -> None:
    data = CONTENT["data"] | {"sounds": "recordings", "folder": str(tmp_path / "none")}
    recipe = recipe_from(CONTENT | {"data": data}, "smoke")
    with pytest.raises(ValueError, match=r"data\.folder: .*none is not a folder"):
        list(ready(recipe, tmp_path / "run"))
    assert [finding.good for finding in check(recipe)] == [True, False, True, True]  # all of them


@pytest.mark.parametrize(
    ("table", "settings", "message"),
    [
        ("data", {"labels": ["bogus"], "phrases": "labels"}, "no synthesis of 'bogus'"),
        ("mix", {"bogus": 1}, r"\[mix\]: unknown setting 'bogus'"),
        ("mix", {"num_sources_weights": []}, r"num_sources_weights is \[\]; expected a number"),
        (
            "mix",
            {"num_sources_weights": [1] * 4, "num_queries": 5},
            "mixtures of 5 different sounds",
        ),
        ("mix", {"num_queries": 2}, "mix.num_queries is 2, but mixtures have up to 3 sources"),
        (
            "separator",
            {"channels": [8, 10**6]},
            r"\[separator\]: channels is 1e\+06; expected 1 to",
        ),
        ("separator", {"channels": []}, r"\[separator\]: channels has 0 items"),
        (
            "separator",
            {"query_noise": -1.0},
            r"\[separator\]: query_noise is -1; expected 0 to 1000",
        ),
        ("augment", {"speed_probability": 2}, r"\[augment\]: speed_probability is 2"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_embedded(
    tmp_path: Path, table: str, settings: dict[str, Any], message: str
) -> None:
    recipe = recipe_from(CONTENT | {table: CONTENT.get(table, {}) | settings}, "smoke")
    with pytest.raises(ValueError, match=message):
        list(ready(recipe, tmp_path / "run"))


def test_a_folder_that_cannot_be_written_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "GB free" in output_writable(tmp_path / "a" / "b")
    # Root may write anywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(ValueError, match=f"{tmp_path} cannot be written to"):
        output_writable(tmp_path / "a" / "b")


def test_a_folder_of_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(ValueError, match=r"holds thesis\.tex, which no earlier qsep train wrote"):
        list(ready(SMOKE, tmp_path))


def tiny_trial(samples: int) -> tuple[float, int]:
    """Of a tiny separator, on mixtures of this length."""
    task = SeparatorTask("band_unet", tiny_separator("band_unet"))
    content = {
        "separator": {"kind": "band_unet", **SETTINGS["band_unet"]},
        "encoder": {"kind": "stub"},
        "data": {"sounds": "recordings", "phrases": "labels"},
        "mix": {"segment_samples": samples, "num_queries": 3},
        "train": {"steps": 1, "precision": "32-true"},
    }
    return trial(task, recipe_from(content, "tiny"), StubEncoder(), "cpu")


def test_twice_the_length_takes_about_twice_the_memory() -> None:
    short, long = tiny_trial(4096)[1], tiny_trial(8192)[1]
    assert 1.6 < long / short < 2.1  # less than twice: weights are stored too


def test_the_estimate_is_steps_times_items_times_the_time_of_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights = torch.nn.Linear(1000, 250, bias=False)  # 1 MB
    monkeypatch.setattr(estimating, "trial", lambda *_: (0.25, 50_000_000))
    monkeypatch.setattr(estimating, "build_query_encoder", lambda _: ("stub", None, StubEncoder()))
    monkeypatch.setattr(estimating, "build_task", lambda *_: SeparatorTask("band_unet", weights))
    said = estimate(SMOKE, "cpu", devices=2)  # 80 steps of 8 mixtures: 4 on each device
    assert said == (
        "estimate: 1 min for 80 steps of 1 s, without validation; 0.2 GB of memory at least"
    )


def test_an_estimate_that_fails_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("needs a sound encoder")

    monkeypatch.setattr(estimating, "trial", fail)
    monkeypatch.setattr(estimating, "build_query_encoder", lambda _: ("stub", None, StubEncoder()))
    assert estimate(SMOKE, "cpu", 1) == "no estimate of time and memory (RuntimeError)"


@pytest.mark.parametrize(
    ("name", "samples"), [("smoke", 10080), ("sounds150-base", 101760), ("audiosep", 160000)]
)
def test_mixtures_of_noise_are_as_long_as_the_recipes(name: str, samples: int) -> None:
    assert mix_config(read_recipe(name)[0]).segment_samples == samples


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "4", "LOCAL_RANK": "0"}, False),  # first on the second machine
        ({"SLURM_PROCID": "1"}, False),
        ({"LOCAL_RANK": "1"}, False),
    ],
)
def test_one_process_of_a_run_speaks_for_all(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], first: bool
) -> None:
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
        if name in environment:
            monkeypatch.setenv(name, environment[name])
    assert is_first_process() == first


def test_something_is_on_the_screen_before_pytorch_is_needed(
    qsep: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qsep.recipes.cli.train.find_spec", lambda name: None)
    outcome = qsep("train", "smoke", "-o", "run")
    assert outcome.out == "recipe smoke, folder run\n"
    assert outcome.code == 2


@pytest.mark.parametrize(("recipe", "name"), [("own", "classes"), ("bimodal-sounds21", "captions")])
def test_every_kind_of_data_has_an_item_of_noise(recipe: str, name: str) -> None:
    parsed, _ = read_recipe(recipe)
    task = SeparatorTask("band_unet", tiny_separator("band_unet"))
    batch, queries = noise_batch(task, parsed, StubEncoder(), "cpu")
    num_slots = {"classes": 6, "captions": 6}[name]
    assert batch.sources.shape == (1, num_slots, 1, mix_config(parsed).segment_samples)
    assert queries.pooled.shape == (1, num_slots, StubEncoder().dim)


def test_the_blank_encoder_has_the_classes_that_a_model_is_built_for() -> None:
    encoder = StubEncoder()
    encoder.classes, encoder.class_names = ("dog", "rain"), ("a dog", "rain")
    blank = BlankEncoder(encoder)
    assert (blank.classes, blank.class_names) == (("dog", "rain"), ("a dog", "rain"))


def test_data_without_a_new_class_are_refused_if_only_new_classes_are_trained(
    tmp_path: Path,
) -> None:
    soundfile.write(tmp_path / "a.wav", torch.full((800,), 0.5).numpy(), 8000)
    rows = ["file,label,split", *(f"a.wav,{{0}},{split}" for split in ("train", "dev"))]
    for label, good in (("dog_bark", False), ("kettle", True)):
        (tmp_path / "clips.csv").write_text("\n".join(rows).format(label))
        recipe, _ = read_recipe("own", [f"data.folder={tmp_path}"])
        finding = [finding for finding in check(recipe) if "start" in finding.text]
        assert [each.good for each in finding] == [good]
        assert ("no class that train.start_from lacks" in finding[0].text) is not good

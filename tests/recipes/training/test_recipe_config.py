"""Recipes are read with all their settings, or refused in one line."""

import copy
import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from qsep.queries.encoders.joint import NetworkConfig
from qsep.recipes.training.build import build_book, build_data, build_query_encoder, build_task
from qsep.recipes.training.config import CONFIGS_DIR, read_recipe, recipe_from, start_folders
from qsep.recipes.training.learner import learning_rate_factor
from qsep.recipes.training.tasks import autoencoder, vocoder
from qsep.separation.components import build_separator, setting_names

SHIPPED = sorted(path.stem for path in CONFIGS_DIR.glob("*.toml"))
CONTENT: dict[str, Any] = {
    "separator": {"kind": "band_unet"},
    "encoder": {"kind": "minilm"},
    "data": {"sounds": "synthetic", "phrases": "sounds21"},
    "train": {"steps": 3},
}


def test_recipes_that_start_from_shipped_models_find_them_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("flow-small", "own", "sounds150-base"):
        recipe, _ = read_recipe(name)
        folders = start_folders(recipe.train)
        assert folders
        assert all((folder / "model.safetensors").is_file() for folder in folders), name


def content(**tables: Any) -> dict[str, Any]:
    return copy.deepcopy(CONTENT) | tables


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_is_found_by_its_name(name: str) -> None:
    recipe, _ = read_recipe(name)
    assert recipe.name == name
    configs = {
        "audio_encoder": NetworkConfig,
        "autoencoder": autoencoder.Config,
        "vocoder": vocoder.Config,
    }
    if recipe.part in configs:
        known = {item.name for item in dataclasses.fields(configs[recipe.part])}
    else:
        known = setting_names(recipe.model["kind"])
    assert recipe.model.keys() <= known | {"kind"}


def test_a_recipe_says_only_how_it_differs_from_the_one_it_extends(tmp_path: Path) -> None:
    changed = "extends = 'smoke'\n[train]\nsteps = 3\n[separator]\nmask_features = 2\n"
    (tmp_path / "mine.toml").write_text(changed)
    recipe, recorded = read_recipe(str(tmp_path / "mine.toml"), ["train.seed=5"])
    smoke, content = read_recipe("smoke")
    assert recipe.train == dataclasses.replace(smoke.train, steps=3, seed=5)
    assert recipe.model == smoke.model | {"mask_features": 2}
    assert recorded == content | {"train": recorded["train"], "separator": recorded["separator"]}


def test_a_table_of_another_kind_takes_no_settings_from_the_one_it_replaces(tmp_path: Path) -> None:
    changed = "extends = 'smoke'\n[encoder]\nkind = 'labels'\n[separator]\nkind = 'convtasnet'\n"
    (tmp_path / "mine.toml").write_text(changed)
    _, content = read_recipe(str(tmp_path / "mine.toml"))
    assert content["separator"] == {"kind": "convtasnet"}
    assert content["encoder"] == {"kind": "labels"}
    assert content["train"] == read_recipe("smoke")[1]["train"]


@pytest.mark.parametrize(
    ("extends", "reason"),
    [("'nosuch'", "nosuch: no such recipe"), ("3", "expected a recipe's name")],
)
def test_a_recipe_that_extends_nothing_known_is_refused(
    extends: str, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text(f"extends = {extends}\n")
    with pytest.raises(ValueError, match=reason):
        read_recipe(str(tmp_path / "mine.toml"))


def test_the_clipsep_recipe_has_the_papers_schedule() -> None:
    train = read_recipe("clipsep")[0].train
    steps = {0: 1 / 5000, 4999: 1, 5000: 1, 52_500: 0.55, 100_000: 0.1, 199_999: 0.1}
    factors = {step: learning_rate_factor(step, train) for step in steps}
    assert factors == pytest.approx(steps)


@pytest.mark.parametrize("name", ["backbones", "own"])
def test_a_card_does_not_claim_the_scores_of_the_recipe_that_was_extended(name: str) -> None:
    assert read_recipe("sounds150")[0].card["scores"]
    card = read_recipe(name)[0].card
    assert (card["scores"], card["results"]) == ("", [])


def test_smoke_and_the_default_recipe_are_shipped() -> None:
    assert {"smoke", "sounds21"} <= set(SHIPPED)


def test_a_recipe_may_be_any_toml_file(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text((CONFIGS_DIR / "smoke.toml").read_text())
    recipe, _ = read_recipe(str(tmp_path / "mine.toml"))
    assert recipe.name == "mine"
    assert recipe.train == read_recipe("smoke")[0].train


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            {"autoencoder": {"kind": "mel_vae"}},
            r"give one of the tables \[separator\], .*\[vocoder\]",
        ),
        ({"separator": None}, r"give one of the tables"),
        (
            {"separator": None, "vocoder": {"kind": "bigvgan"}},
            r"\[vocoder\] has no queries; leave \[encoder\] out",
        ),
        ({"encoder": None}, r"table \[encoder\] is missing"),
    ],
)
def test_a_recipe_trains_one_thing_with_an_encoder_where_it_is_queried(
    tables: dict[str, Any], message: str
) -> None:
    chosen = {table: values for table, values in content(**tables).items() if values is not None}
    with pytest.raises(ValueError, match=message):
        recipe_from(chosen, "mine")


@pytest.mark.parametrize(("part", "name"), [("autoencoder", "vae"), ("vocoder", "vocoder")])
def test_the_recipes_of_flowseps_parts_train_them_as_flowsep_has_them(part: str, name: str) -> None:
    recipe, _ = read_recipe(f"flowsep-{name}")
    encoder = build_query_encoder(recipe)[2]
    with torch.device("meta"):
        task = build_task(recipe, build_book(recipe), encoder)
        flowsep = build_separator("flowsep", {}).state_dict()
    actual = {key: value.shape for key, value in task.weights(task.model).items()}
    prefix = {"vae": "codec.vae.", "vocoder": "codec.vocoder."}[name]
    assert {key: shape for key, shape in actual.items() if key != "codec.scale"} == {
        key: value.shape for key, value in flowsep.items() if key.startswith(prefix)
    }
    assert recipe.part == part
    assert (
        recipe.model | {"kind": ""}
        == {
            "vae": {
                "kind": "",
                "kl_weight": 1.0,
                "discriminator_weight": 0.5,
                "discriminator_start": 50_001,
            }
            | {"learn_scale": False},
            "vocoder": {"kind": "", "mel_weight": 45.0, "feature_weight": 2.0},
        }[name]
    )
    last = learning_rate_factor(recipe.train.steps - 1, recipe.train) * recipe.train.learning_rate
    assert last == pytest.approx({"vae": 8e-6, "vocoder": 1e-4 * math.exp(-0.4)}[name], rel=1e-5)
    assert recipe.train.betas == {"vae": (0.5, 0.9), "vocoder": (0.8, 0.99)}[name]


def test_lists_become_tuples() -> None:
    assert read_recipe("smoke")[0].data.labels == ("bass_drum", "clock_tick", "flute", "rain")


def test_omitted_settings_have_the_defaults() -> None:
    train = recipe_from(CONTENT, "short").train
    assert (train.steps, train.batch_size, train.learning_rate) == (3, 16, 2e-3)


def test_overrides_are_toml_values() -> None:
    recipe, _ = read_recipe(
        "smoke",
        ["train.steps=7", "train.learning_rate=1e-4", "data.labels=['rain', 'flute']"],
    )
    assert recipe.train.steps == 7
    assert recipe.train.learning_rate == 1e-4
    assert recipe.data.labels == ("rain", "flute")


def test_an_override_that_is_not_toml_is_text() -> None:
    recipe, _ = read_recipe("smoke", ["train.precision=bf16-mixed", "data.folder=../my sounds"])
    assert recipe.train.precision == "bf16-mixed"
    assert recipe.data.folder == "../my sounds"


def test_an_override_may_open_a_table() -> None:
    assert read_recipe("sounds21", ["mix.level_db=3.0"])[0].mix == {"level_db": 3.0}


def test_the_record_holds_the_overrides() -> None:
    assert read_recipe("smoke", ["train.steps=7"])[1]["train"]["steps"] == 7


def test_the_last_override_counts() -> None:
    assert read_recipe("smoke", ["train.steps=7", "train.steps=8"])[0].train.steps == 8


def test_reading_a_recipe_leaves_its_content_as_it_was() -> None:
    before = content(mix={"level_db": 3.0})
    recipe = recipe_from(before, "mine")
    recipe.mix["level_db"] = 5.0
    assert before["mix"] == {"level_db": 3.0}


@pytest.mark.parametrize("override", ["train.steps", "steps=7", "=7", "train.=7"])
def test_an_override_of_another_form_is_shown_the_form(override: str) -> None:
    with pytest.raises(ValueError, match=r"write overrides as table\.key=value"):
        read_recipe("smoke", [override])


def test_a_value_cannot_be_overridden_as_a_table() -> None:
    with pytest.raises(ValueError, match="steps is a value, not a table"):
        read_recipe("smoke", ["train.steps.more=1"])


def test_an_unknown_recipe_error_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"nosuch: no such recipe; .*smoke, .*sounds21"):
        read_recipe("nosuch")


@pytest.mark.parametrize("data", [b"[train\n", b"\xff\xfe"])
def test_a_file_that_is_not_toml_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "bad.toml").write_bytes(data)
    with pytest.raises(ValueError, match=r"bad\.toml: not TOML"):
        read_recipe(str(tmp_path / "bad.toml"))


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"trian": {}}, r"recipe mine: unknown table \[trian\]; known: .*'train'"),
        ({"train": {"steps": 1, "stepz": 1}}, r"recipe mine, \[train\]: unknown setting 'stepz'"),
        ({"data": {"sounds": "synthetic"}}, r"recipe mine, \[data\]: .*'phrases'"),
        ({"train": {}}, r"recipe mine, \[train\]: .*'steps'"),
        ({"train": {"steps": "many"}}, r"\[train\]: setting steps is 'many'; expected int"),
        ({"train": {"steps": 2.5}}, "setting steps is 2.5; expected int"),
        ({"train": {"steps": True}}, "setting steps is True; expected int"),
        ({"train": {"steps": 1, "precision": 16}}, "setting precision is 16; expected str"),
        ({"data": {"sounds": "", "phrases": "", "labels": "rain"}}, "setting labels is 'rain'"),
        ({"data": {"sounds": "", "phrases": "", "labels": [1]}}, r"setting labels is \(1,\)"),
        ({"train": {"steps": 1, "save_every": 0}}, "save_every is 0; expected 1 to 1e[+]09"),
        ({"train": 5}, r"train is a value; expected a table \[train\]"),
        ({"encoder": {}}, r"\[encoder\] has no kind"),
    ],
)
def test_a_wrong_recipe_is_refused_by_table_and_key(tables: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe_from(content(**tables), "mine")


@pytest.mark.parametrize("table", ["encoder", "data", "train"])
def test_a_missing_table_is_named(table: str) -> None:
    tables = content()
    del tables[table]
    with pytest.raises(ValueError, match=rf"recipe mine: table \[{table}\] is missing"):
        recipe_from(tables, "mine")


def test_a_whole_number_passes_where_a_fraction_is_meant() -> None:
    assert recipe_from(content(train={"steps": 1, "learning_rate": 1}), "mine").train.steps == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "mix.num_sources_weights=[0, 0]",
            r"num_sources_weights is \[0, 0\]; expected a number more",
        ),
        (
            "mix.num_sources_weights=[]",
            r"num_sources_weights is \[\]; expected a number more than 0",
        ),
        ("mix.gains=[2, 1]", r"gains is \[2, 1\]; expected the smaller number first"),
        ("mix.noise_db=[2]", r"noise_db has 1 numbers; expected the lowest and the highest"),
        ("mix.loudness=3", r"recipe smoke, \[mix\]: unknown setting 'loudness'"),
        ("augment.reverb_probability='often'", r"\[augment\]: setting reverb_probability is"),
        ("data.sounds='recorded'", "data.sounds must be 'captions', 'recordings', 'videos'"),
        ("mix.num_queries=2", "mix.num_queries is 2, but mixtures have up to 3 sources"),
    ],
)
def test_wrong_settings_of_the_data_are_refused(override: str, message: str) -> None:
    recipe, _ = read_recipe("smoke", [override])
    with pytest.raises(ValueError, match=message):
        build_data(recipe, build_book(recipe), 8000, validation=False)


def test_mixtures_of_more_sounds_than_there_are_labels_are_refused() -> None:
    recipe, _ = read_recipe("smoke", ["data.labels=['rain', 'flute']"])
    with pytest.raises(ValueError, match="mixtures of 3 different sounds, but 2 labels"):
        build_data(recipe, build_book(recipe), 8000, validation=False)


def test_a_label_without_wordings_is_refused() -> None:
    recipe, _ = read_recipe("smoke", ["data.labels=['rain', 'snow']"])
    with pytest.raises(ValueError, match=r"data\.labels: 'snow' is not in the phrase book"):
        build_book(recipe)


def test_a_book_restricted_to_labels_keeps_their_order_names_and_phrases() -> None:
    recipe, _ = read_recipe("smoke", ["data.labels=['rain', 'flute']"])
    whole = build_book(read_recipe("sounds21")[0])
    book = build_book(recipe)
    assert book.labels == ("rain", "flute")
    assert book.names == ("rain falling", "a flute")
    assert book.phrases == {label: whole.phrases[label] for label in ("rain", "flute")}
    assert book.other == whole.other

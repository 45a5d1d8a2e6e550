"""The recipes of Dong et al. (2023): their settings, and that each trains on a prepared folder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command import Run
from installed import import_open_clip
from prepared import prepared_folder
from tiny import text_of

from qsep.queries.interface import ImageQuery, TextQuery
from qsep.recipes.data.mixtures.videos import VideoMixConfig
from qsep.recipes.training import loop
from qsep.recipes.training.build import build_book, build_data, build_query_encoder
from qsep.recipes.training.config import TrainConfig, read_recipe
from qsep.separation.storage.checkpoint import load_checkpoint

RATE = 8000
SHOWN = {  # what a recipe shows of a source
    "clipsep": "image",
    "clipsep-nit": "image",
    "clipsep-early": "image",
    "clipsep-middle": "image",
    "clipsep-hybrid": "hybrid",
    "sop": "image",
    "textsep": "text",
    "labelsep": "text",
    "bertsep": "text",
    "pitsep": "text",
}


@pytest.mark.parametrize("name", SHOWN)
def test_a_recipe_has_the_papers_settings(name: str) -> None:
    recipe, _ = read_recipe(name)
    assert recipe.train == TrainConfig(
        steps=200_000,
        batch_size=32,
        learning_rate=1e-3,
        weight_decay=0.0,
        warmup_steps=5000,
        decay_steps=95_000,
        decay_end=100_000,
        final_factor=0.1,
        clip_norm=1.0,
        ema_decay=0.0,
        seed=1234,
        precision="32-true",
        log_every=100,
        validate_every=10_000,
        save_every=10_000,
        num_workers=8,
    )
    assert (recipe.data.sounds, recipe.data.queries) == ("videos", SHOWN[name])
    assert (recipe.mix, recipe.augment) == ({}, {})
    assert VideoMixConfig() == VideoMixConfig(65535, 2, (0.5, 1.5))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [("dog barking", 9), ("rain", 7), ("violin", 8), ("rain", 10)]
    return prepared_folder(tmp_path_factory.mktemp("videos"), RATE, rows, [*rows[:1], ("erhu", 7)])


Encoder = Callable[[str], list[str]]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """encoder(recipe): the settings that put networks of random weights in the released ones' place."""
    folder = tmp_path_factory.mktemp("encoders")

    def clip() -> list[str]:
        open_clip = import_open_clip()
        vision = {"image_size": 224, "layers": 1, "width": 16, "head_width": 8, "patch_size": 112}
        text = {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}
        model = folder / "clip-for-tests.json"
        if not model.exists():
            content = {"embed_dim": 12, "vision_cfg": vision, "text_cfg": text}
            model.write_text(json.dumps(content))
            open_clip.add_model_config(model)
            network = open_clip.create_model(model.stem, load_weights=False)
            torch.save(network.state_dict(), folder / "clip.pt")
        return [f"encoder.model={model}", f"encoder.weights={folder / 'clip.pt'}"]

    def resnet() -> list[str]:
        models = pytest.importorskip("torchvision.models", reason="pictures need torchvision")
        torch.save(models.resnet18().state_dict(), folder / "resnet18.pth")
        return [f"encoder.weights={folder / 'resnet18.pth'}"]

    def settings(recipe: str) -> list[str]:
        kind = read_recipe(recipe)[0].encoder["kind"]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return {"clip": clip, "resnet": resnet}.get(kind, list)()

    return settings


def overrides(recipe: str, videos: Path, settings: list[str]) -> list[str]:
    """The recipe on little data, with a network that a test has time for."""
    spectrogram: dict[str, Any] = {"sample_rate": RATE, "window_samples": 64, "hop_samples": 32}
    spectrogram |= {"num_rows": 24, "segment_frames": 16}
    return [
        *settings,
        *(f"separator.spectrogram.{key}={value}" for key, value in spectrogram.items()),
        "separator.channels=[6, 7, 8]",
        "mix.segment_samples=511",
        f"data.folder={videos}",
        "data.num_validation=1",
        "train.steps=2",
        "train.batch_size=2",
        "train.log_every=1",
        "train.num_workers=0",
    ]


@pytest.mark.parametrize("name", SHOWN)
def test_a_recipe_trains_on_a_prepared_folder(
    qsep: Run,
    folder: Path,
    videos: Path,
    encoder: Encoder,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    pytest.importorskip("lightning_fabric", reason="training needs pip install qsep[train]")
    monkeypatch.setattr(loop, "plot_curves", lambda log, picture: picture.touch())  # a second each
    settings = overrides(name, videos, encoder(name))
    outcome = qsep("train", name, *settings, "-o", "run", "--accelerator", "cpu")
    assert outcome.err == ""
    assert outcome.code == 0
    entries = [json.loads(line) for line in (folder / "run/log.jsonl").read_text().splitlines()]
    losses = [entry["mask_bce"] for entry in entries if "mask_bce" in entry]
    assert len(losses) == 2
    assert all(0 < loss < 10 for loss in losses)
    assert entries[-1].keys() >= {"si_sdr_i"}
    separator, loaded, config = load_checkpoint(folder / "run/model")
    assert separator.sample_rate == RATE
    assert config["encoder"]["kind"] == read_recipe(name)[0].encoder["kind"]
    kinds: dict[str, set[type]] = {
        "text": {TextQuery},
        "image": {ImageQuery},
        "hybrid": {TextQuery, ImageQuery},
    }
    assert kinds[SHOWN[name]] <= loaded.modalities


def test_the_table_of_labels_is_that_of_the_index_files(videos: Path) -> None:
    recipe, _ = read_recipe("labelsep", overrides("labelsep", videos, []))
    _, encoder, _ = build_query_encoder(recipe)
    assert encoder.config.labels == ("dog barking", "erhu", "rain", "violin")
    assert build_book(recipe).phrases == {label: (label,) for label in encoder.config.labels}


def test_a_recipe_may_select_labels(videos: Path) -> None:
    settings = overrides("labelsep", videos, ["data.labels=['rain', 'violin']"])
    recipe, _ = read_recipe("labelsep", settings)
    _, encoder, _ = build_query_encoder(recipe)
    assert encoder.config.labels == ("rain", "violin")
    data = build_data(recipe, build_book(recipe), RATE, validation=False)
    texts = {text_of(query) for draw in range(9) for query in data[draw][1]}
    assert texts == {"rain", "violin"}


@pytest.mark.parametrize(
    ("recipe", "override", "message"),
    [
        (
            "textsep",
            "augment.filter_probability=0.5",
            r"videos are not augmented; leave \[augment\] out",
        ),
        ("textsep", "mix.level_db=3.0", r"\[mix\]: unknown setting 'level_db'"),
        ("textsep", "mix.num_sources=5", r"train\.csv: 4 clips are too few for mixtures of 5"),
        ("textsep", "data.split=nosuch", r"nosuch\.csv: no such file; `qsep data prepare`"),
        ("smoke", "data.queries=image", "data.queries is 'image', but only videos have pictures"),
    ],
)
def test_settings_without_effect_on_videos_are_refused(
    videos: Path, recipe: str, override: str, message: str
) -> None:
    tables = [] if recipe == "smoke" else overrides(recipe, videos, [])
    read, _ = read_recipe(recipe, [*tables, override])
    with pytest.raises(ValueError, match=message):
        build_data(read, build_book(read), RATE, validation=False)

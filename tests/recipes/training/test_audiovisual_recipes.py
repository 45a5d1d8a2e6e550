"""The audio-visual recipes train, and their models separate by picture, locate and recognise."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from command import Run, process_state_restored
from installed import import_open_clip, needs
from PIL import Image
from prepared import prepared_folder
from tiny import tiny_separator
from tiny_encoders import clip_model, pixels, save_clip_config

import qsep
from qsep.queries.interface import ImageQuery
from qsep.recipes.benchmarks.quality.audiovisual import scores_of
from qsep.recipes.data.shapes import LOOKS, draw_scene
from qsep.recipes.training import loop
from qsep.recipes.training.build import build_book, build_data, build_query_encoder
from qsep.recipes.training.check import check
from qsep.recipes.training.config import read_recipe
from qsep.separation.api import Model

pytestmark = [
    needs("open_clip", "pip install 'qsep[clip]'"),
    needs("lightning_fabric", "pip install 'qsep[train]'"),
]
RATE = 8000
TINY = [
    "separator.spectrogram={sample_rate=8000, window_samples=64, hop_samples=32, num_rows=24, "
    "segment_frames=16}",
    "separator.channels=[6, 7, 8]",
    "separator.num_features=5",
    "separator.dim=12",
    "mix.segment_samples=511",
    "data.num_validation=1",
    "train.steps=2",
    "train.batch_size=3",
    "train.log_every=1",
    "train.num_workers=0",
    "train.precision=32-true",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of audiovisual-shapes, tiny and hardly trained."""
    import_open_clip()  # quicker than as it is
    folder = tmp_path_factory.mktemp("shapes")
    recipe, content = read_recipe("audiovisual-shapes", TINY)
    with process_state_restored(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("QSEP_CACHE", str(folder / "cache"))
        patch.setattr(loop, "plot_curves", lambda log, picture: picture.touch())  # a second
        model = loop.train(recipe, content, folder / "run", accelerator="cpu")
    assert model is not None
    return model


@pytest.fixture(name="model", scope="module")
def loaded(trained: Path) -> Model:
    return qsep.load(trained, "cpu")


def log_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def noise(num_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, num_samples).astype(np.float32)


def test_the_shapes_recipe_learns_from_all_terms(trained: Path) -> None:
    entries = log_of(trained.parent)
    for name in ("mask_bce", "localisation", "alignment", "recognition"):
        assert sum(name in entry for entry in entries) == 2, name
    assert "si_sdr_i" in entries[-1]
    files = {path.name for path in (trained / "encoder").iterdir()}
    assert {"clip.safetensors", "qsep-small.json"} <= files


@pytest.mark.slow
@pytest.mark.nightly
def test_the_shapes_recipe_trains_a_model_that_works(tmp_path: Path) -> None:
    recipe, content = read_recipe("audiovisual-shapes")
    with process_state_restored():
        folder = loop.train(recipe, content, tmp_path / "run", accelerator="cpu")
    assert folder is not None
    scores = {name: values.mean() for name, values in scores_of(qsep.load(folder), 40).items()}
    # measured: 99 %, 100 %, 7.1 dB; by chance 10 %, 20 %, 0 dB
    assert scores["pointing"] > 0.8
    assert scores["recognised"] > 0.8
    assert scores["si_sdr_i"] > 4


def test_drawn_pictures_are_not_kept(trained: Path) -> None:
    with closing(sqlite3.connect(trained.parents[1] / "cache/embeddings.sqlite")) as database:
        assert database.execute("SELECT count(*) FROM embeddings").fetchone() == (0,)


@pytest.mark.parametrize("name", ["audiovisual", "audiovisual-music"])
def test_a_video_recipe_trains_on_a_prepared_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("QSEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loop, "plot_curves", lambda log, picture: picture.touch())
    rows = [("dog barking", 9), ("rain", 7), ("violin", 8), ("erhu", 10)]
    videos = prepared_folder(tmp_path / "videos", RATE, rows, [*rows[:1], ("erhu", 7)])
    torch.save(clip_model().state_dict(), tmp_path / "clip.pt")
    eye = [f"encoder.model={save_clip_config(tmp_path)}", f"encoder.weights={tmp_path / 'clip.pt'}"]
    recipe, content = read_recipe(name, [*eye, *TINY, f"data.folder={videos}"])
    with process_state_restored():
        loop.train(recipe, content, tmp_path / "run", accelerator="cpu")
    entries = log_of(tmp_path / "run")
    assert sum("alignment" in entry for entry in entries) == 2
    assert recipe.mix["num_frames"] == 1
    located = qsep.locate(qsep.load(tmp_path / "run/model", "cpu"), pixels(40, 52), noise(4000))
    assert located.shape == (2, 2)


@pytest.mark.parametrize("name", ["audiovisual", "audiovisual-music"])
def test_clip_is_the_eye_of_the_video_recipes(name: str) -> None:
    recipe, _ = read_recipe(name)
    _, encoder, _ = build_query_encoder(recipe)
    assert (encoder.config.model, encoder.config.weights) == ("ViT-B-16-quickgelu", "openai")
    assert encoder.grid == (14, 14)
    assert not encoder.belongs_to_model


def test_the_shapes_recipe_is_found_good_by_its_check() -> None:
    findings = list(check(read_recipe("audiovisual-shapes")[0]))
    assert all(finding.good for finding in findings), findings
    assert "5 labels" in [finding.text for finding in findings]


def test_shapes_are_queried_by_pictures_alone() -> None:
    recipe, _ = read_recipe("audiovisual-shapes", ["data.queries=text"])
    with pytest.raises(ValueError, match="shapes are not augmented and are queried by pictures"):
        build_data(recipe, build_book(recipe), RATE, validation=False)


def test_separate_takes_a_picture_as_query(qsep: Run, folder: Path, trained: Path) -> None:
    soundfile.write("a.wav", noise(3001), RATE)
    Image.fromarray(pixels(96, 96)).save("dog.png")
    done = qsep("separate", "a.wav", "--query-image", "dog.png", "-m", trained, "--residual")
    assert (done.code, done.err) == (0, "")
    target, residual = (soundfile.read(folder / f"a.dog{end}.wav")[0] for end in ("", ".residual"))
    np.testing.assert_allclose(target + residual, soundfile.read("a.wav")[0], atol=1e-4)  # 16 bits
    assert target.any()


def test_locate_writes_a_heat_map_and_says_where(qsep: Run, folder: Path, trained: Path) -> None:
    soundfile.write("a.wav", noise(3001), RATE)
    scene = draw_scene(["rain", "flute"], np.random.default_rng(1))
    Image.fromarray(scene.picture).save("scene.png")
    done = qsep("locate", "scene.png", "a.wav", "-m", trained, "--json")
    assert (done.code, done.err) == (0, "")
    printed = json.loads(done.out)
    assert sorted(printed) == [
        *("file", "picture", "recording", "similarities", "similarity", "x", "y")
    ]
    assert np.shape(printed["similarities"]) == (12, 12)
    assert printed["similarity"] == np.max(printed["similarities"])
    assert Image.open("heat.png").size == (96, 96)
    assert qsep("locate", "scene.png", "a.wav", "-m", trained).error == (
        "heat.png exists: add --overwrite or choose another name with -o"
    )
    again = qsep("locate", "scene.png", "a.wav", "-m", trained, "--overwrite")
    assert again.out.startswith(f"heat.png: most similar ({printed['similarity']:.2f}) ")
    bad = qsep("locate", "scene.png", "a.wav", "-m", trained, "-o", "heat.jpg")
    assert bad.error == "-o heat.jpg: end the heat map's name in .png"


def test_the_map_is_that_of_the_centre_square(model: Model) -> None:
    square, sound = pixels(96, 96, 4), noise(4000)
    wide = np.concatenate([np.zeros((96, 20, 3), np.uint8), square, square[:, :20]], axis=1)
    expected = qsep.locate(model, square, sound)
    assert expected.dtype == np.float32
    assert np.ptp(expected) > 0
    np.testing.assert_array_equal(qsep.locate(model, wide, sound), expected)


def test_similarities_are_those_of_the_whole_queries(model: Model) -> None:
    sound = noise(4000)
    queries = [ImageQuery(draw_scene([label], np.random.default_rng(2)).picture) for label in LOOKS]
    actual = qsep.similarities(model, sound, [*queries, "a red circle"])
    with torch.no_grad():
        vectors = [
            model.separator.pictures(*model.separator.bag(model.embed([query])))[0]  # type: ignore[attr-defined]
            for query in queries
        ]
        heard = model.separator.embed(torch.from_numpy(sound)[None, None])[0]  # type: ignore[attr-defined]
    assert actual.shape == (6,)
    # 1e-5: float32; the networks that separate are rewritten, those that compare are not
    expected = [float(vector @ heard) for vector in vectors]
    assert actual[:5].tolist() == pytest.approx(expected, abs=1e-5)


def test_files_and_arrays_of_another_rate_are_heard_alike(model: Model, tmp_path: Path) -> None:
    stereo = np.stack([noise(24000, 1), noise(24000, 2)])
    soundfile.write(tmp_path / "a.wav", stereo.T, 24000, subtype="FLOAT")
    image = pixels(96, 96)
    by_file = qsep.locate(model, image, tmp_path / "a.wav")
    by_array = qsep.locate(model, image, stereo, 24000)
    np.testing.assert_allclose(by_file, by_array, atol=1e-5)  # float32 sums of the channels
    with pytest.raises(ValueError, match="sample_rate is the file's own"):
        qsep.locate(model, image, tmp_path / "a.wav", 24000)


def test_other_models_neither_locate_nor_recognise() -> None:
    other = Model(
        tiny_separator("clipsep"), build_query_encoder(read_recipe("smoke")[0])[1], "tiny"
    )
    with pytest.raises(ValueError, match="tiny does not tell where in a picture a sound is"):
        qsep.locate(other, pixels(9, 9), noise(400))
    with pytest.raises(ValueError, match="tiny does not compare sounds with queries"):
        qsep.similarities(other, noise(400), ["rain"])

"""The recipes of AudioSep, USS and the DCASE 2024 baseline train what they say."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from tiny import StubConfig, StubEncoder, noise, tiny_tagger

from qsep.queries.interface import AudioQuery
from qsep.recipes.training.build import build_book, build_data
from qsep.recipes.training.config import read_recipe
from qsep.recipes.training.learner import learning_rate_factor
from qsep.recipes.training.loop import train
from qsep.separation.api import load

SMALL = [
    "separator.channels=[3, 4, 5, 6, 6, 6]",
    "separator.sample_rate=8000",
    "separator.window_samples=256",
    "separator.hop_samples=80",
    "mix.segment_samples=8000",
    "data.num_validation=2",
    "train.batch_size=3",
    "train.warmup_steps=3",
    "train.steps=4",
    "train.num_workers=0",
    "train.log_every=1",
    "train.validate_every=4",
]


@pytest.fixture(name="folder")
def recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Captioned recordings and a released tagger."""
    monkeypatch.setenv("QSEP_CACHE", str(tmp_path / "cache"))
    items = [{"wav": f"{index}.wav", "caption": f"sound {index}"} for index in range(4)]
    for index, item in enumerate(items):
        soundfile.write(tmp_path / item["wav"], noise(12000, seed=index).numpy(), 8000)
    for split in ("train", "dev"):
        (tmp_path / f"{split}.json").write_text(json.dumps({"data": items}))
    torch.save({"model": tiny_tagger().state_dict()}, tmp_path / "Cnn14.pth")
    return tmp_path


@pytest.fixture
def stub_clap(monkeypatch: pytest.MonkeyPatch) -> None:
    from qsep.recipes.training import build
    from qsep.separation.storage import checkpoint, config

    def build_encoder(kind: str, settings: dict[str, Any]) -> Any:
        assert kind == "clap"
        return StubEncoder(StubConfig(dim=512))

    for module in (build, checkpoint, config):
        monkeypatch.setattr(module, "build_encoder", build_encoder)


def run(name: str, folder: Path, *overrides: str) -> list[dict[str, float]]:
    """Train for four steps; the log."""
    recipe, content = read_recipe(name, [f"data.folder={folder}", *SMALL, *overrides])
    train(recipe, content, folder / "run", accelerator="cpu")
    lines = (folder / "run" / "log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.usefixtures("stub_clap")
@pytest.mark.parametrize("name", ["audiosep-exact", "dcase2024"])
def test_it_trains_on_captions_and_the_result_separates(name: str, folder: Path) -> None:
    log = run(name, folder)
    rates = [entry["lr"] for entry in log if "lr" in entry]
    assert rates == pytest.approx([1e-6, 1e-5, 1e-4, 1e-3])
    assert all(0 < entry["l1"] < 0.2 for entry in log if "l1" in entry)
    assert np.isfinite(log[-1]["si_sdr_i"])
    model = load(folder / "run" / "model", "cpu")
    result = model.separate(noise(9000).numpy(), "sound 1", sample_rate=8000)
    assert np.abs(result.target).max() > 0


def test_uss_trains_on_its_taggers_probabilities_and_the_result_takes_examples(
    folder: Path,
) -> None:
    run("uss", folder, f"encoder.checkpoint={folder / 'Cnn14.pth'}")
    assert not (folder / "cache").exists()  # examples used once are not cached
    model = load(folder / "run" / "model", "cpu")
    assert model.separator.query_dim == 527
    example = AudioQuery(noise(9000, seed=1).numpy(), sample_rate=8000)
    result = model.separate(noise(9000).numpy(), example, sample_rate=8000)
    assert np.abs(result.target).max() > 0


@pytest.mark.parametrize(
    ("name", "rate", "seconds", "batch_size"),
    [("audiosep", 32000, 5, 12), ("dcase2024", 16000, 10, 16), ("uss", 32000, 2, 128)],
)
def test_the_recipe_has_the_papers_sizes_and_schedule(
    name: str, rate: int, seconds: float, batch_size: int
) -> None:
    recipe, _ = read_recipe(name)
    assert recipe.model.get("sample_rate", 32000) == rate
    assert recipe.mix["segment_samples"] == seconds * rate
    config = recipe.train
    assert config.batch_size == batch_size
    assert (config.learning_rate, config.weight_decay, config.amsgrad) == (1e-3, 0, True)
    steps = {0: 1e-3, 9_999: 1e-3, 10_000: 1e-2, 19_999: 1e-2, 20_000: 0.1, 30_000: 1, 190_000: 1}
    assert {step: learning_rate_factor(step, config) for step in steps} == steps


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["data.queries=image"], "data.queries is 'image'; expected 'text' or 'audio'"),
        (["augment.speed_probability=0.5"], "captioned recordings are not augmented"),
        (["mix.level=3"], "unknown setting 'level'"),
    ],
)
def test_settings_that_captions_do_not_have_are_refused(
    overrides: list[str], reason: str, folder: Path
) -> None:
    recipe, _ = read_recipe("audiosep", [f"data.folder={folder}", *overrides])
    with pytest.raises(ValueError, match=reason):
        build_data(recipe, build_book(recipe), 8000, validation=False)

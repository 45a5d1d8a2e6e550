"""Embeddings that sounds share with words: the loss, the audio tower, the encoder, their training."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from command import process_state_restored
from tiny import mixture_batch, noise, rng, unit_vectors
from torch import Tensor

from qsep.queries.encoders.joint import Config, NetworkConfig, build
from qsep.queries.interface import AudioQuery, Query, QueryEmbedding, TextQuery
from qsep.queries.networks.audio_tower import AudioTower
from qsep.recipes.training.config import recipe_from
from qsep.recipes.training.tasks.audio_encoder import JointModel, JointTask
from qsep.separation.objectives.contrastive import soft_contrastive_loss

RATE = 8000
BOOK = """
[labels.bass_drum]
name = "a bass drum"
phrases = ["a bass drum", "kick drum"]
[labels.clock_tick]
name = "a clock"
phrases = ["a clock ticking", "tick tock"]
[labels.flute]
name = "a flute"
phrases = ["a flute", "someone plays the flute"]
[labels.rain]
name = "rain"
phrases = ["rain", "a rain shower"]
[other]
phrases = ["silence"]
"""
RECIPE: dict[str, Any] = {
    "audio_encoder": {"kind": "joint", "sample_rate": RATE, "channels": [8, 12, 16], "dim": 10},
    "encoder": {"kind": "minilm"},
    "data": {
        "sounds": "synthetic",
        "phrases": "sounds21",
        "labels": ["bass_drum", "clock_tick", "flute", "rain"],
        "num_validation": 12,
    },
    "mix": {
        "segment_samples": 12000,
        "num_sources_weights": [0.0, 0.0, 1.0],
        "num_queries": 4,
        "max_absent": 0,
    },
    "train": {
        "steps": 24,
        "batch_size": 4,
        "learning_rate": 5e-3,
        "warmup_steps": 2,
        "ema_decay": 0.8,
        "precision": "32-true",
        "log_every": 8,
        "validate_every": 24,
        "save_every": 24,
        "num_workers": 0,
    },
}


@pytest.mark.parametrize("scale", [1.0, 9.0])
def test_with_one_match_each_the_loss_is_that_of_clip(scale: float) -> None:
    first, second = unit_vectors(5, 7, seed=1), unit_vectors(5, 7, seed=2)
    logits, order = scale * first @ second.T, torch.arange(5)
    expected = torch.nn.functional.cross_entropy(logits, order, reduction="none")
    expected = (expected + torch.nn.functional.cross_entropy(logits.T, order, reduction="none")) / 2
    torch.testing.assert_close(soft_contrastive_loss(first, second, torch.eye(5), scale), expected)


def test_all_items_of_equal_meaning_are_positives() -> None:
    first, second = unit_vectors(4, 3, seed=3), unit_vectors(4, 3, seed=4)
    alike = torch.eye(4)
    alike[0, 2] = alike[2, 0] = 1.0
    actual = soft_contrastive_loss(first, second, alike, 2.0)
    similarity = 2 * (first.double() @ second.double().T).numpy()
    forwards = similarity - np.log(np.exp(similarity).sum(axis=1, keepdims=True))
    backwards = similarity.T - np.log(np.exp(similarity.T).sum(axis=1, keepdims=True))
    expected = -(forwards[0, 0] + forwards[0, 2] + backwards[0, 0] + backwards[0, 2]) / 4
    assert actual[0].item() == pytest.approx(expected, rel=1e-6)
    assert actual[1].item() == pytest.approx(-(forwards[1, 1] + backwards[1, 1]) / 2, rel=1e-6)


def test_embeddings_of_sounds_are_unit_vectors_whatever_the_level() -> None:
    torch.manual_seed(0)
    tower = AudioTower(RATE, (6, 8, 10), 5).eval()
    waveform = noise(3, 50000)
    waveform[0] = waveform[0].cumsum(dim=0)  # brown, the others white
    with torch.no_grad():
        plain, quiet = tower(waveform), tower(waveform * 1e-3)
    assert plain.shape == (3, 5)
    torch.testing.assert_close(plain.norm(dim=-1), torch.ones(3))
    torch.testing.assert_close(plain, quiet, atol=1e-4, rtol=0)
    assert (plain[0] - plain[1]).norm() > 1e-3


@pytest.mark.parametrize("num_samples", [1, 700, 40961])
def test_the_tower_takes_any_length(num_samples: int) -> None:
    tower = AudioTower(RATE, (6, 8, 10), 5).eval()
    assert torch.isfinite(tower(noise(2, num_samples))).all()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the loop on four kinds of synthetic sound."""
    pytest.importorskip("lightning_fabric", reason="training needs pip install qsep[train]")
    from qsep.recipes.training.loop import train

    out = tmp_path_factory.mktemp("joint")
    (out / "book.toml").write_text(BOOK)
    content = copy.deepcopy(RECIPE)
    content["data"]["phrases"] = str(out / "book.toml")
    with process_state_restored():
        folder = train(recipe_from(content, "tiny-joint"), content, out / "run", "cpu")
    assert folder is not None
    return folder


def test_training_brings_sounds_near_their_wordings(trained: Path) -> None:
    log = [json.loads(line) for line in (trained.parent / "log.jsonl").read_text().splitlines()]
    losses = [entry["contrastive"] for entry in log if "contrastive" in entry]
    assert losses[-1] < losses[0] - 0.3
    accuracy = next(entry["accuracy"] for entry in log if "accuracy" in entry)
    assert accuracy > 0.6  # of four kinds, by wordings and noise never drawn in training


def test_a_trained_encoder_reads_text_and_recordings_into_one_space(
    trained: Path, tmp_path: Path
) -> None:
    encoder = build(Config(folder=str(trained)))
    samples = np.random.default_rng(3).uniform(-0.5, 0.5, 3 * RATE).astype("float32")
    soundfile.write(tmp_path / "noise.wav", samples, RATE, subtype="FLOAT")
    queries: list[Query] = [
        TextQuery("rain"),
        AudioQuery(tmp_path / "noise.wav"),
        AudioQuery(samples, sample_rate=RATE),
    ]
    pooled = encoder.encode(queries).pooled
    assert pooled.shape == (3, encoder.dim) == (3, 10)
    torch.testing.assert_close(pooled.norm(dim=-1), torch.ones(3))
    torch.testing.assert_close(pooled[1], pooled[2])
    with torch.no_grad():  # shorter than a segment: the tower alone
        direct = encoder.network.audio(torch.from_numpy(samples)[None])[0]
    torch.testing.assert_close(pooled[1], direct)


def test_in_training_wordings_are_read_with_noise_of_norm_03() -> None:
    """Of 2,000 dimensions the norm is within a few per cent of its mean."""
    config = NetworkConfig(text_dim=2000, dim=5, sample_rate=RATE, channels=(4, 5, 6))
    model = JointModel(config, num_classes=2, num_phrases=3)
    seen: list[Tensor] = []
    model.network.project.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    batch, _ = mixture_batch(3001)
    queries = QueryEmbedding(unit_vectors(4, 3, 2000, seed=2))
    JointTask(model).loss(model, batch, queries, rng(1), None)
    audible = batch.sources.abs().amax(dim=(-2, -1)) > 0
    noise_norms = (seen[0] - queries.pooled[audible]).norm(dim=-1)
    torch.testing.assert_close(noise_norms, torch.full_like(noise_norms, 0.3), rtol=0.1, atol=0)


def test_long_examples_are_the_mean_of_their_parts(trained: Path) -> None:
    encoder = build(Config(folder=str(trained)))
    waveform = noise(1, 2 * 5 * RATE, seed=8)[0]
    with torch.no_grad():
        parts = encoder.network.audio(waveform.view(2, -1))
        actual = encoder.sound(waveform)
    torch.testing.assert_close(actual, torch.nn.functional.normalize(parts.mean(dim=0), dim=-1))


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a checkpoint of a joint encoder"):
        build(Config(folder=str(tmp_path)))


def test_a_recipe_trains_one_thing() -> None:
    both = RECIPE | {"separator": {"kind": "band_unet"}}
    with pytest.raises(ValueError, match=r"one of the tables \[separator\], \[audio_encoder\]"):
        recipe_from(copy.deepcopy(both), "both")
    with pytest.raises(ValueError, match=r"audio_encoder.kind is 'clap'"):
        from qsep.recipes.training.build import build_book, build_query_encoder, build_task

        other = copy.deepcopy(RECIPE)
        other["audio_encoder"]["kind"] = "clap"
        recipe = recipe_from(other, "other")
        build_task(recipe, build_book(recipe), build_query_encoder(recipe)[2])

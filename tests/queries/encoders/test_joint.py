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
from tiny import mixture_batch, noise, rng

from qsep.queries.encoders.joint import Config, JointNetwork, NetworkConfig, build
from qsep.queries.interface import AudioQuery, Query, QueryEmbedding, TextQuery
from qsep.queries.networks.audio_tower import AudioTower
from qsep.queries.networks.yamnet import load_yamnet
from qsep.recipes.training.config import recipe_from
from qsep.recipes.training.tasks.audio_encoder import JointModel, JointTask

RATE = 16000
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
    "audio_encoder": {"kind": "joint", "dim": 10},
    "encoder": {"kind": "minilm"},
    "data": {
        "sounds": "synthetic",
        "phrases": "sounds21",
        "labels": ["bass_drum", "clock_tick", "flute", "rain"],
        "num_validation": 12,
    },
    "mix": {
        "segment_samples": 15600,
        "num_sources_weights": [0.0, 0.0, 1.0],
        "num_queries": 4,
        "max_absent": 0,
    },
    "train": {
        "steps": 24,
        "batch_size": 4,
        "learning_rate": 1e-3,
        "warmup_steps": 2,
        "ema_decay": 0.8,
        "precision": "32-true",
        "kernels": "int8",
        "log_every": 8,
        "validate_every": 24,
        "save_every": 24,
        "num_workers": 0,
    },
}


def test_embeddings_of_sounds_are_unit_vectors_whatever_the_level() -> None:
    torch.manual_seed(0)
    tower = AudioTower(5).eval()
    waveform = noise(3, 50000)
    waveform[0] = waveform[0].cumsum(dim=0)  # brown, the others white
    with torch.no_grad():
        plain, quiet = tower(waveform), tower(waveform * 1e-3)
    assert plain.shape == (3, 5)
    torch.testing.assert_close(plain.norm(dim=-1), torch.ones(3))
    torch.testing.assert_close(plain, quiet, atol=1e-4, rtol=0)
    assert (plain[0] - plain[1]).norm() > 1e-3


@pytest.mark.parametrize("num_samples", [1, 700, 15601])
def test_the_tower_takes_any_length(num_samples: int) -> None:
    tower = AudioTower(5).eval()
    assert torch.isfinite(tower(noise(2, num_samples))).all()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the loop on four kinds of synthetic sound."""
    pytest.importorskip("lightning_fabric", reason="training needs pip install qsep[train]")
    try:
        load_yamnet()
    except ValueError as error:
        pytest.skip(str(error))
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


def network(num_classes: int = 3) -> JointNetwork:
    """Two phrases for each class, which are orthogonal, and one for others."""
    config = NetworkConfig(num_classes, num_phrases=2 * num_classes + 1, dim=5, text_dim=11)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        built = JointNetwork(config).eval()
    phrases = torch.linalg.qr(torch.randn(11, 11, generator=rng(2)))[0][: 2 * num_classes + 1]
    built.reader.store(phrases, torch.arange(2 * num_classes + 1) // 2)
    return built


@torch.no_grad()
def test_text_is_the_mean_of_the_vectors_of_the_classes_that_its_words_resemble() -> None:
    joint = network()
    phrases = joint.reader.phrases.float()
    vectors = joint.classes / joint.classes.norm(dim=1, keepdim=True)
    between = 0.8 * phrases[0] + 0.6 * phrases[4]  # cosines 0.8, 0.6, and 0 with all others
    weights = np.exp(30 * np.array([0.8, 0.0, 0.0, 0.0, 0.6, 0.0, 0.0]))
    weights /= weights.sum()
    expected = (weights[0] + weights[1]) * vectors[0] + (weights[4] + weights[5]) * vectors[2]
    expected += (weights[2] + weights[3]) * vectors[1]
    actual = joint.text(torch.stack([phrases[3], between]))
    torch.testing.assert_close(actual[0], vectors[1], atol=1e-4, rtol=0)
    torch.testing.assert_close(actual[1], (expected / expected.norm()).float(), atol=2e-3, rtol=0)


@torch.no_grad()
def test_the_loss_is_the_smoothed_cross_entropy_of_similarities_to_all_classes() -> None:
    joint = network()
    model = JointModel(joint.config)
    model.network = joint
    batch, _ = mixture_batch(15601)
    audible = batch.sources.abs().amax(dim=(-2, -1)) > 0
    owners = torch.arange(audible.numel()).reshape(audible.shape) % 3
    queries = QueryEmbedding(joint.reader.phrases.float()[2 * owners])
    actual = JointTask(model).loss(model, batch, queries, rng(1), None).total
    sounds = joint.audio(batch.sources[audible].mean(dim=1)).numpy()
    classes = joint.classes.numpy() / np.linalg.norm(joint.classes.numpy(), axis=1, keepdims=True)
    logits = sounds @ classes.T / 0.07
    log_likelihood = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    chosen = log_likelihood[np.arange(len(sounds)), owners[audible].numpy()]
    expected = -0.95 * chosen - 0.05 * log_likelihood.mean(axis=1)
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-4)


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

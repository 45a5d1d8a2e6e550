"""A model of sound classes that goes on with more of them: rows, retention, replay, the recipe's parts."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from qsep.queries.interface import ClassQuery, Query, QueryEmbedding
from qsep.recipes.data.mixtures.classes import ClassMixConfig, ClassMixtures, ClassSounds
from qsep.recipes.data.mixtures.clips import Take
from qsep.recipes.training.build import classes
from qsep.recipes.training.config import recipe_from
from qsep.recipes.training.initial_weights.class_rows import train_new_rows_alone, with_class_rows
from qsep.recipes.training.loop import train
from qsep.recipes.training.tasks.retention import Retention
from qsep.separation.interface import MixtureBatch
from qsep.separation.models.class_unet import ClassUNet, Config, build
from qsep.separation.storage.weights import read_weights

SMALL: dict[str, Any] = {
    "sample_rate": 8000,
    "window_samples": 320,
    "hop_samples": 160,
    "num_bands": 32,
    "channels": (8, 12),
    "blocks": (1, 1),
    "features": 8,
    "refine_features": 4,
    "refine_hidden": 6,
}


def model_of(*names: str) -> ClassUNet:
    torch.manual_seed(len(names))
    return build(Config(classes=names, **SMALL)).eval()


def grown(model: ClassUNet, *names: str) -> ClassUNet:
    wider = model_of(*names)
    wider.load_state_dict(with_class_rows(model.state_dict(), model.config.classes, names))
    return wider


def test_old_classes_keep_their_relative_odds_and_new_ones_start_low() -> None:
    old = model_of("dog", "cat", "rain")
    new = grown(old, "bell", "dog", "cat", "rain", "owl")
    features = torch.randn(7, 8, generator=torch.Generator().manual_seed(1))
    before, after = (model.class_logits(features).detach() for model in (old, new))
    assert torch.equal(after[:, [1, 2, 3, 5]], before)
    for row in (0, 4):  # a twentieth of the odds of "other"
        assert after[:, row] == pytest.approx((before[:, 3] - math.log(20)).tolist(), abs=1e-5)


def test_a_grown_model_separates_old_classes_nearly_as_before() -> None:
    old = model_of("dog", "cat", "rain")
    new = grown(old, "dog", "cat", "rain", "owl")
    mixture = torch.randn(2, 1, 6000, generator=torch.Generator().manual_seed(2))
    queried = torch.tensor([[[0, 1.0, 0, 0]], [[0, 0, 1.0, 0]]])
    wider = torch.tensor([[[0, 1.0, 0, 0, 0]], [[0, 0, 1.0, 0, 0]]])
    with torch.no_grad():
        before = old.separate(mixture, QueryEmbedding(queried)).target
        after = new.separate(mixture, QueryEmbedding(wider)).target
    # the new class takes a twentieth of what "other" holds, no more
    assert (before - after).norm() < 0.05 * before.norm()


def test_a_class_that_would_be_lost_is_named() -> None:
    with pytest.raises(ValueError, match="knows 'cat', which the new model would forget"):
        with_class_rows(model_of("dog", "cat").state_dict(), ["dog", "cat"], ["dog", "owl"])


def batch_of(num: int) -> MixtureBatch:
    generator = torch.Generator().manual_seed(3)
    sources = torch.randn(num, 2, 1, 3360, generator=generator)
    queries: list[list[Query | None]] = [
        [ClassQuery(["dog"]), ClassQuery(["owl"])] for _ in range(num)
    ]
    return MixtureBatch(sources.sum(dim=1), sources, queries, 8000, [str(i) for i in range(num)])


def test_retention_is_the_divergence_among_the_old_classes() -> None:
    teacher = grown(model_of("dog", "cat"), "dog", "cat", "owl")
    student = grown(model_of("dog", "cat"), "dog", "cat", "owl")
    rows = torch.tensor([0, 1, 3])
    kept = Retention(teacher, rows, 2.0)
    batch = batch_of(5)
    student.requires_grad_(False)
    assert kept(student, batch) == pytest.approx([0] * 5, abs=1e-6)
    with torch.no_grad():
        student.class_logits.bias[2] += 3.0  # of the new class, which retention does not concern
    assert kept(student, batch) == pytest.approx([0] * 5, abs=1e-6)
    with torch.no_grad():
        student.class_logits.bias[1] += 1.5
    energy = kept.energy(batch.mixture[[0, 4]])
    classing = teacher.features(energy).classing
    logits = classing.movedim(1, -1).reshape(2, -1, 8) @ teacher.class_logits.weight[rows].T
    logits = (logits + teacher.class_logits.bias[rows]).detach().double()
    p = logits.softmax(dim=-1)
    shifted = (logits + torch.tensor([0, 1.5, 0])).softmax(dim=-1)
    expected = (p * (p / shifted).log()).sum(dim=-1).mean(dim=1)
    actual = kept(student, batch)
    assert actual[[1, 2, 3]].tolist() == [0, 0, 0]
    # 5 mixtures over the 2 that are compared, so that the batch's mean is theirs
    assert actual[[0, 4]].tolist() == pytest.approx((2.5 * expected).tolist(), rel=1e-3)


def test_favoured_classes_are_in_the_configured_share_of_mixtures() -> None:
    rng = np.random.default_rng(5)
    noise = [Take(rng.integers(-9000, 9000, 4000).astype(np.int16), "g")]
    names = [f"old{i:02d}" for i in range(30)] + ["mine"]
    config = ClassMixConfig(
        segment_samples=1600, num_queries=6, favoured=("mine",), favoured_probability=0.7
    )
    mixtures = ClassMixtures(
        ClassSounds(dict.fromkeys(names, noise), config, 8000), config, 8000, 1
    )
    plans = [mixtures.plan(2, np.random.default_rng(i)) for i in range(400)]
    held = [any("mine" in labels for labels, _ in plan) for plan in plans]
    # 0.7 and about 2/31 of the rest; binomial, three standard deviations of 0.023
    assert np.mean(held) == pytest.approx(0.7 + 0.3 * 2 / 31, abs=0.07)
    others = {label for plan in plans for labels, _ in plan for label in labels}
    assert len(others) > 25


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(8)
    folder = tmp_path / "own-data"
    folder.mkdir()
    rows = []
    for label in ("owl", "squeak"):
        for split in ("train", "dev"):
            for number in range(2):
                name = f"{label}-{split}-{number}.wav"
                soundfile.write(folder / name, rng.uniform(-0.3, 0.3, 9000), 8000)
                rows.append({"file": name, "label": label, "split": split})
    with (folder / "clips.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def recipe(folder: Path, **train: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "steps": 2,
        "batch_size": 2,
        "num_workers": 0,
        "precision": "32-true",
    }
    settings |= {"validate_every": 2, "save_every": 2, "warmup_steps": 1, "log_every": 1}
    model = {key: list(v) if isinstance(v, tuple) else v for key, v in SMALL.items()}
    return {
        "separator": {"kind": "class_unet", **model},
        "encoder": {"kind": "phrase_book"},
        "data": {
            "sounds": "classes",
            "phrases": "labels",
            "folder": str(folder),
            "num_validation": 2,
        },
        "mix": {"segment_samples": 3360},
        "train": settings | train,
    }


def test_a_run_from_a_model_keeps_its_classes_and_adds_new_ones(data: Path, tmp_path: Path) -> None:
    first = recipe(data)
    first["data"] |= {"labels": ["owl", "squeak"]}
    start = train(recipe_from(first, "first"), first, tmp_path / "first", "cpu")
    assert start is not None
    text = (data / "clips.csv").read_text()
    (data / "clips.csv").write_text(text.replace(",squeak,", ",my_kettle,"))
    second = recipe(data, start_from=str(start), retain_weight=1.0)
    second["data"] |= {"replay": "synthetic"}
    parsed = recipe_from(second, "second")
    assert classes(parsed) == ("owl", "squeak", "my_kettle")
    folder = train(parsed, second, tmp_path / "second", "cpu")
    assert folder is not None
    config = json.loads((folder / "config.json").read_text())
    assert config["separator"]["config"]["classes"] == ["owl", "squeak", "my_kettle"]
    assert read_weights(folder / "model.safetensors")["class_logits.weight"].shape == (4, 8)
    log = [
        json.loads(line) for line in (tmp_path / "second" / "log.jsonl").read_text().splitlines()
    ]
    assert any("retention" in line for line in log)


def test_new_rows_are_trained_at_higher_odds_which_the_averaged_weights_lack() -> None:
    model = grown(model_of("dog", "cat"), "dog", "owl", "cat")
    features = torch.randn(5, 8, generator=torch.Generator().manual_seed(6))
    before = model.class_logits(features).detach()
    train_new_rows_alone(model, ("dog", "owl", "cat"), ("dog", "cat"))
    logits = model.class_logits(features)
    raised = (logits - before).flatten().tolist()
    assert raised == pytest.approx([0, 4.0073, 0, 0] * 5, abs=1e-4)  # ln 55
    logits.square().sum().backward()
    assert model.class_logits.weight.grad is not None
    assert model.class_logits.weight.grad.abs().sum(dim=1).bool().tolist() == [0, 1, 0, 0]
    with pytest.raises(ValueError, match="no class that train"):
        train_new_rows_alone(model, ("dog", "cat"), ("dog", "cat"))


def test_new_classes_alone_are_trained_without_a_change_to_the_others(
    data: Path, tmp_path: Path
) -> None:
    first = recipe(data)
    start = train(recipe_from(first, "first"), first, tmp_path / "first", "cpu")
    assert start is not None
    text = (data / "clips.csv").read_text()
    (data / "clips.csv").write_text(text.replace(",squeak,", ",my_kettle,"))
    settings: dict[str, Any] = {"start_from": str(start), "weight_decay": 0.0, "ema_decay": 0.5}
    second = recipe(data, new_classes_only=True, learning_rate=0.1, **settings)
    second["data"] |= {"replay": "synthetic"}
    folder = train(recipe_from(second, "second"), second, tmp_path / "second", "cpu")
    assert folder is not None
    before, after = (read_weights(path / "model.safetensors") for path in (start, folder))
    for name, weights in before.items():
        if name.startswith("class_logits"):
            kept, new = [0, 1, 3], after[name][2] - before[name][2]
            assert torch.equal(after[name][kept], weights[[0, 1, 2]])
            assert new.abs().max() > 0.01
        else:  # batch statistics among them
            assert torch.equal(after[name], weights), name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "needs a model to start from"),
        ({"start_from": "sounds150"}, "set train.weight_decay=0"),
        ({"start_from": "sounds150", "weight_decay": 0.0, "retain_weight": 1.0}, "retain_weight=0"),
    ],
)
def test_settings_that_contradict_training_new_classes_alone_are_refused(
    data: Path, settings: dict[str, Any], message: str
) -> None:
    content = recipe(data, new_classes_only=True, **settings)
    with pytest.raises(ValueError, match=message):
        recipe_from(content, "mine")


def test_a_run_that_mixes_on_the_device_learns_as_one_whose_workers_mix(
    data: Path, tmp_path: Path
) -> None:
    losses = []
    for on_device in (False, True):
        content = recipe(data, mix_on_device=on_device, num_workers=int(on_device))
        content["augment"] = {"filter_probability": 0.0}
        folder = tmp_path / str(on_device)
        train(recipe_from(content, "mine"), content, folder, "cpu")
        lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
        losses.append([line["loss"] for line in lines if "loss" in line])
    assert len(losses[0]) == 2
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)  # float32, through two steps


def test_two_classes_are_enough_and_one_is_refused() -> None:
    noise = [Take(np.random.default_rng(4).integers(-9, 9, 4000).astype(np.int16), "g")]
    config = ClassMixConfig(segment_samples=800)
    mixtures = ClassMixtures(ClassSounds({"a": noise, "b": noise}, config, 8000), config, 8000, 1)
    for draw in range(40):
        sources, queries, _ = mixtures[draw]
        queried = [query for query in queries if query is not None]
        assert len({query.name for query in queried}) == len(queried)
        assert sources[: len(queried)].abs().amax() > 0
    with pytest.raises(ValueError, match="only recordings of a: mixtures need two labels"):
        ClassMixtures(ClassSounds({"a": noise}, config, 8000), config, 8000, 1)

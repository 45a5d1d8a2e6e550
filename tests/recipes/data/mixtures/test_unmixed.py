"""Batches mixed on the device are those that workers mix."""

import copy
import dataclasses
from typing import Any

import golden_mixtures
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from qsep.recipes.benchmarks.loader import device_milliseconds
from qsep.recipes.data.mixtures.augment import AugmentConfig, equalizer_response
from qsep.recipes.data.mixtures.classes import ClassMixtures, ClassSounds
from qsep.recipes.data.mixtures.mix_and_separate import MixAndSeparate, RecordedSounds
from qsep.recipes.data.mixtures.unmixed import UnmixedMixtures, curve_weights
from qsep.recipes.training.build import for_workers
from qsep.recipes.training.config import recipe_from

BOTH = AugmentConfig(0.5, 3.0, 0.0, 0.0, 0.6, 0.3)  # everything but the equaliser


CONTENT: dict[str, Any] = {
    "separator": {"kind": "class_unet"},
    "encoder": {"kind": "phrase_book"},
    "data": {"sounds": "classes", "phrases": "labels"},
    "train": {"steps": 1, "mix_on_device": True},
}


def mixtures(augment: AugmentConfig = BOTH) -> ClassMixtures:
    data = golden_mixtures.classes()
    config = dataclasses.replace(data.config, augment=augment)
    sounds = ClassSounds({"none": []}, config, data.sample_rate)
    sounds.labels, sounds.by_group = data.sounds.labels, data.sounds.by_group
    return ClassMixtures(sounds, config, data.sample_rate, 12)


def labelled(augment: AugmentConfig = BOTH) -> MixAndSeparate:
    data = golden_mixtures.labelled()
    config = dataclasses.replace(data.config, augment=augment)
    sounds = RecordedSounds(golden_mixtures.recordings(), augment)
    return MixAndSeparate(sounds, data.book, config, data.sample_rate, 11)


def error_db(actual: torch.Tensor, expected: torch.Tensor) -> float:
    energy = expected.double().square().sum()
    return float(10 * torch.log10((actual - expected).double().square().sum() / energy + 1e-20))


@pytest.mark.parametrize("data", [mixtures(), labelled()], ids=["classes", "recordings"])
def test_a_batch_is_the_same_but_for_rounding(data: ClassMixtures | MixAndSeparate) -> None:
    draws = range(12)
    expected = data.collate([data[draw] for draw in draws])
    unmixed = UnmixedMixtures(data)
    actual = unmixed.collate([unmixed[draw] for draw in draws]).to("cpu")
    assert actual.sources.shape == expected.sources.shape
    assert torch.equal(actual.sources.any(dim=-1), expected.sources.any(dim=-1))
    assert torch.equal(actual.mixture, actual.sources.sum(dim=1))
    for item, reference in zip(actual.sources, expected.sources, strict=True):
        for source, other in zip(item, reference, strict=True):
            if other.any():
                assert error_db(source, other) < -110  # float32
    assert (actual.queries, actual.ids) == (expected.queries, expected.ids)
    assert actual.sample_rate == expected.sample_rate


def test_with_equalisers_it_is_nearly_the_same() -> None:
    data = mixtures(golden_mixtures.AUGMENT)
    expected = data.collate([data[draw] for draw in range(12)])
    unmixed = UnmixedMixtures(data)
    actual = unmixed.collate([unmixed[draw] for draw in range(12)]).to("cpu")
    for mixture, other in zip(actual.mixture, expected.mixture, strict=True):
        assert error_db(mixture, other) < -50  # the curve is sampled at other bins


def test_an_item_does_not_depend_on_its_batch() -> None:
    unmixed = UnmixedMixtures(mixtures(golden_mixtures.AUGMENT))
    together = unmixed.collate([unmixed[draw] for draw in range(5)]).to("cpu")
    alone = unmixed.collate([unmixed[3]]).to("cpu")
    assert error_db(together.sources[3], alone.sources[0]) < -120


def test_workers_change_nothing() -> None:
    data = UnmixedMixtures(mixtures())
    loader: Any = DataLoader(
        data, batch_size=2, num_workers=2, collate_fn=data.collate, sampler=range(4)
    )
    for index, batch in enumerate(loader):
        expected = data.collate([data[2 * index], data[2 * index + 1]]).to("cpu")
        assert torch.equal(batch.to("cpu").sources, expected.sources)
        assert batch.queries == expected.queries


def test_a_curve_in_decibels_is_the_equalisers() -> None:
    gains_db = np.random.default_rng(0).normal(0, 4, 8)
    curve = gains_db.astype(np.float32) @ curve_weights(513, 16000).numpy()
    expected = 20 * np.log10(equalizer_response(gains_db, 513, 16000))
    assert curve == pytest.approx(expected, abs=1e-4)


def test_a_recipe_says_who_mixes() -> None:
    for data in (mixtures(), labelled()):
        assert isinstance(for_workers(data, recipe_from(CONTENT, "mine")), UnmixedMixtures)
        here = copy.deepcopy(CONTENT)
        here["train"]["mix_on_device"] = False
        assert for_workers(data, recipe_from(here, "mine")) is data


@pytest.mark.parametrize(
    ("table", "settings", "message"),
    [
        ("data", {"sounds": "captions"}, "is for data.sounds 'classes', 'recordings' and"),
        ("data", {"sources": "captions"}, "is for data.sounds 'classes', 'recordings' and"),
        ("mix", {"room": {"probability": 1}}, "makes no effects, gains or noise"),
        ("mix", {"noise_db": [-10.0, 0.0]}, "makes no effects, gains or noise"),
    ],
)
def test_what_is_not_mixed_on_the_device_is_refused(
    table: str, settings: dict[str, Any], message: str
) -> None:
    content = copy.deepcopy(CONTENT)
    content[table] = content.get(table, {}) | settings
    with pytest.raises(ValueError, match=message):
        recipe_from(content, "mine")


def test_the_devices_time_is_told_by_item() -> None:
    data = UnmixedMixtures(mixtures())
    assert device_milliseconds(data.collate([data[0], data[1]]), "cpu", repeats=1) > 0

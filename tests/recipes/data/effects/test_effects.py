"""Effects on the items of every data set: what stays the same, and what sums to what."""

from typing import Any

import golden_mixtures
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from qsep.recipes.data.effects.config import (
    ArrayConfig,
    BeatConfig,
    DeviceConfig,
    EffectsConfig,
    LevelConfig,
    RoomConfig,
)
from qsep.recipes.data.effects.loudness import loudness_lufs
from qsep.recipes.data.effects.treated import TreatedMixtures
from qsep.recipes.training.build import build_book, build_data
from qsep.recipes.training.config import read_recipe, recipe_from

EVERYTHING = EffectsConfig(
    beats=BeatConfig(0.5),
    device=DeviceConfig(0.3, 0.6),
    room=RoomConfig(0.7, moving_probability=0.3),
    levels=LevelConfig("loudness", max_peak=0.5),
)
NAMES = ("recordings", "classes", "captioned", "captions exact", "videos")


@pytest.fixture(scope="module")
def data_sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return dict(golden_mixtures.data_sets(tmp_path_factory.mktemp("recordings")))


@pytest.mark.parametrize("name", NAMES)
def test_every_data_set_has_effects_and_sums_to_its_mixture(
    name: str, data_sets: dict[str, Any]
) -> None:
    data = TreatedMixtures(data_sets[name], EVERYTHING)
    batch = data.collate([data[draw] for draw in range(4)])
    plain = data_sets[name].collate([data_sets[name][draw] for draw in range(4)])
    assert torch.equal(batch.mixture, batch.sources.sum(dim=1))
    num_sources = plain.sources.shape[1]
    assert batch.sources.shape[1] == num_sources + 1
    assert [row[:num_sources] for row in batch.queries] == plain.queries
    assert all(row[-1] is None for row in batch.queries)
    assert batch.ids == plain.ids
    silent = ~plain.sources.any(dim=-1)
    assert not batch.sources[:, :num_sources][silent].any()
    assert batch.mixture.abs().max() <= 0.5 + 1e-6
    if plain.part_of is not None:
        assert batch.part_of is not None
        assert torch.equal(batch.part_of[:, :-1], plain.part_of)
        assert batch.part_of[:, -1].tolist() == [-1] * 4


@pytest.mark.parametrize("room", [0.0, 0.5])
@pytest.mark.parametrize("name", NAMES)
def test_every_data_set_can_be_heard_by_several_microphones(
    name: str, room: float, data_sets: dict[str, Any]
) -> None:
    levels = LevelConfig("snr", max_peak=0.5)
    several = EffectsConfig(room=RoomConfig(room), levels=levels, array=ArrayConfig(3))
    data = TreatedMixtures(data_sets[name], several)
    batch = data.collate([data[draw] for draw in range(4)])
    plain = data_sets[name].collate([data_sets[name][draw] for draw in range(4)])
    num_items, num_sources, _, num_samples = plain.sources.shape
    assert batch.sources.shape == (num_items, num_sources, 3, num_samples)
    assert torch.equal(batch.mixture, batch.sources.sum(dim=1))
    assert batch.queries == plain.queries
    sounding = plain.sources.any(dim=-1)[..., 0]
    assert batch.sources.any(dim=-1)[sounding].all()
    assert not batch.sources[~sounding].any()
    first, second, third = batch.sources[sounding].unbind(dim=1)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


def test_validation_keeps_the_microphones_and_a_device_of_the_whole_mixture_has_one() -> None:
    several = EffectsConfig(room=RoomConfig(0.5), array=ArrayConfig(2))
    assert several.for_validation() == EffectsConfig(array=ArrayConfig(2))
    assert several.for_validation().active
    with pytest.raises(ValueError, match=r"set device\.mixture_probability=0 or array\.num_micro"):
        EffectsConfig(device=DeviceConfig(0.3, 0.6), array=ArrayConfig(2))


@pytest.mark.parametrize("name", NAMES)
def test_items_with_effects_are_the_same_for_any_number_of_workers(
    name: str, data_sets: dict[str, Any]
) -> None:
    data = TreatedMixtures(data_sets[name], EVERYTHING)
    loader = DataLoader(
        data, batch_size=2, num_workers=2, collate_fn=data.collate, sampler=range(4)
    )
    for index, batch in enumerate(loader):
        expected = data.collate([data[2 * index], data[2 * index + 1]])
        assert torch.equal(batch.sources, expected.sources)
        assert batch.queries == expected.queries


def test_what_is_off_changes_nothing(data_sets: dict[str, Any]) -> None:
    plain = data_sets["recordings"]
    data = TreatedMixtures(plain, EffectsConfig())
    assert not EffectsConfig().active
    for draw in range(3):
        assert torch.equal(data[draw][0], plain[draw][0])


def test_levels_are_those_that_were_drawn_after_rooms_and_devices(
    data_sets: dict[str, Any],
) -> None:
    plain = data_sets["recordings"]
    data = TreatedMixtures(plain, EffectsConfig(device=DeviceConfig(0.7), room=RoomConfig(1.0)))
    for draw in range(4):
        powers, expected = (each[draw][0].double().square().mean(dim=-1) for each in (data, plain))
        assert powers.numpy() == pytest.approx(expected.numpy(), rel=1e-5)  # float32


def test_a_mixtures_device_is_heard_in_the_mixture_and_not_in_the_target(
    data_sets: dict[str, Any],
) -> None:
    clipping = DeviceConfig(mixture_probability=1.0, kinds=("clipping",), clip_db=(6.0, 6.0))
    plain = data_sets["recordings"]
    data = TreatedMixtures(plain, EffectsConfig(device=clipping))
    for draw in range(3):
        sources, expected = data[draw][0], plain[draw][0]
        assert torch.equal(sources[:-1], expected)
        clean, mixture = expected.sum(dim=0), sources.sum(dim=0)
        threshold = clean.abs().max() * 10 ** (-6 / 20)
        assert torch.allclose(mixture, clean.clamp(-threshold, threshold), atol=1e-6)


def test_by_loudness_every_source_lies_in_the_range(data_sets: dict[str, Any]) -> None:
    levels = LevelConfig("loudness", loudness_lufs=(-30.0, -28.0))
    data = TreatedMixtures(data_sets["classes"], EffectsConfig(levels=levels))
    for draw in range(4):
        for source in data[draw][0][:, 0]:
            if source.any():
                lufs = loudness_lufs(source.numpy(), golden_mixtures.RATE)
                assert -30.01 < lufs < -27.99


def test_the_items_of_one_draw_do_not_depend_on_others(data_sets: dict[str, Any]) -> None:
    data = TreatedMixtures(data_sets["recordings"], EVERYTHING)
    forwards = [data[draw][0] for draw in range(3)]
    backwards = [data[draw][0] for draw in reversed(range(3))][::-1]
    assert all(map(torch.equal, forwards, backwards))
    assert not np.array_equal(forwards[0], forwards[1])


def test_a_recipe_has_the_effects_of_its_tables() -> None:
    overrides = ["mix.room.probability=0.5", "mix.levels.rule=snr", "mix.levels.snr_db=[-3, 3]"]
    recipe, content = read_recipe("smoke", overrides)
    assert recipe.effects.room == RoomConfig(0.5)
    assert recipe.effects.levels == LevelConfig("snr", (-3, 3))
    assert "room" not in recipe.mix
    assert content["mix"]["room"] == {"probability": 0.5}
    assert read_recipe("smoke")[0].effects == EffectsConfig()


def test_validation_has_the_levels_and_no_augmentation() -> None:
    recipe, _ = read_recipe("smoke", ["mix.levels.rule=snr", "mix.room.probability=1.0"])
    book = build_book(recipe)
    training, validation = (build_data(recipe, book, 8000, each) for each in (False, True))
    assert isinstance(training, TreatedMixtures)
    assert isinstance(validation, TreatedMixtures)
    assert training.config.room.probability == 1
    assert validation.config == EffectsConfig(levels=LevelConfig("snr"))


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        ({"room": {"size": 3}}, r"recipe mine, \[mix.room\]: unknown setting 'size'"),
        ({"room": 3}, r"recipe mine: mix.room is a value; expected a table \[mix.room\]"),
        ({"room": {"probability": 2}}, r"\[mix.room\]: probability is 2; expected 0 to 1"),
        ({"levels": {"snr_db": [3, 1]}}, r"snr_db is \[3, 1\]; expected the smaller number first"),
        ({"device": {"kinds": ["radio"]}}, r"kinds is \['radio'\]; expected one or more of"),
        ({"device": {"compression": [0, 2]}}, "compression is 2; expected 0 to 1"),
        ({"room": {"length_meters": [0.2, 3]}}, "length_meters is 0.2; expected 1 to 100"),
        ({"room": {"reverberation_seconds": [0.1, 60]}}, "seconds is 60; expected 0.02 to 10"),
        ({"beats": {"max_stretch": 0.7}}, "max_stretch is 0.7; expected 0 to 0.4"),
    ],
)
def test_a_bad_setting_is_one_line(mix: dict[str, Any], message: str) -> None:
    content = {
        "separator": {"kind": "band_unet"},
        "encoder": {"kind": "minilm"},
        "data": {"sounds": "synthetic", "phrases": "sounds21"},
        "train": {"steps": 3},
        "mix": mix,
    }
    with pytest.raises(ValueError, match=message):
        recipe_from(content, "mine")

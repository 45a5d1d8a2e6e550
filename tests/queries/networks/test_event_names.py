"""Fit of sounds to words by AudioSet's classes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import noise, rng

from qsep.queries.encoders import joint
from qsep.queries.networks.event_names import SHARPNESS, EventNames, phrases_of

OWNERS = np.array([0, 0, 1, 2, 2])


def random_names() -> EventNames:
    """Three classes, five names of width 40, embeddings of width 36."""
    unit = torch.nn.functional.normalize(torch.randn(5, 40, generator=rng(3)), dim=-1)
    weight = torch.randn(3, 36, generator=rng(1))
    bias = torch.randn(3, generator=rng(2))
    return EventNames(weight.numpy(), bias.numpy(), unit.numpy(), OWNERS)


def test_a_name_and_its_parts_stand_for_a_class() -> None:
    phrases, owners = phrases_of(["Owl", "Vehicle horn, car horn", "Frying (food)"])
    assert phrases == [
        *("owl", "vehicle horn, car horn", "vehicle horn", "car horn"),
        *("frying (food)", "frying", "food"),
    ]
    assert owners == [0, 1, 1, 1, 2, 2, 2]


def test_weights_are_a_softmax_of_each_class_nearest_name() -> None:
    names = random_names()
    words = torch.nn.functional.normalize(torch.randn(7, 40, generator=rng(4)), dim=-1)
    cosines = words @ torch.from_numpy(names.names).T
    columns = [cosines[:, OWNERS == owner].amax(dim=1) for owner in range(3)]
    expected = (SHARPNESS * torch.stack(columns, dim=1)).softmax(dim=1)
    np.testing.assert_allclose(names.class_weights(words.numpy()), expected, rtol=1e-4, atol=1e-7)


def test_logits_are_those_of_a_linear_layer_averaged_over_patches() -> None:
    names = random_names()
    embeddings = noise(2, 4, 36)
    layer = torch.nn.functional.linear(
        embeddings, torch.from_numpy(names.weight), torch.from_numpy(names.bias)
    )
    actual = names.logits(embeddings.numpy())
    np.testing.assert_allclose(actual, layer.mean(dim=1).numpy(), rtol=1e-5, atol=1e-6)


def test_a_saved_file_is_read_again_to_the_precision_of_8_bits(tmp_path: Path) -> None:
    names = random_names()
    names.save(tmp_path / "events.safetensors")
    read = EventNames.load(tmp_path / "events.safetensors")
    np.testing.assert_array_equal(read.bias, names.bias)
    np.testing.assert_array_equal(read.owners, names.owners)
    for actual, expected in ((read.weight, names.weight), (read.names, names.names)):
        limit = np.abs(expected).max(axis=1, keepdims=True) / 254 + 1e-6
        assert (np.abs(actual - expected) <= limit).all()


def test_a_file_that_is_missing_or_of_something_else_is_one_clear_line(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"bias": np.zeros(3, np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors: damaged .*'owners'"):
        EventNames.load(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"none\.safetensors"):
        EventNames.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize(("words", "louder"), [("a sine wave", 0), ("white noise", 1)])
def test_the_shipped_layer_tells_sounds_apart_that_no_class_is_of(words: str, louder: int) -> None:
    encoder = joint.shipped()
    time = torch.arange(3 * encoder.sample_rate) / encoder.sample_rate
    sounds = torch.stack([torch.sin(2 * torch.pi * 700 * time), noise(len(time))])
    fit = encoder.event_logits(sounds) @ encoder.event_weights(words)
    assert fit[louder] > fit[1 - louder] + 1


def test_the_shipped_layer_is_that_of_yamnet() -> None:
    from qsep.recipes.training.initial_weights.event_names import event_names

    pytest.importorskip("onnx")
    try:
        built = event_names()
    except ValueError as error:
        pytest.skip(str(error))
    shipped = joint.shipped().event_names
    np.testing.assert_array_equal(shipped.bias, built.bias)
    for actual, expected in ((shipped.weight, built.weight), (shipped.names, built.names)):
        limit = np.abs(expected).max(axis=1, keepdims=True) / 254 + 1e-5
        assert (np.abs(actual - expected) <= limit).all()

"""The contrastive terms of audio-visual training against sums written out by hand."""

import math

import pytest
import torch
from tiny import rng, unit_vectors
from torch import Tensor

from qsep.separation.objectives.audiovisual import (
    AudioVisualConfig,
    alignment,
    bag_similarity,
    localisation,
    recognition,
)

FLOAT = 1e-5  # float32 sums of numbers near 1, divided by a temperature of 0.1


def every(bags: Tensor) -> Tensor:
    return torch.ones(bags.shape[:2], dtype=torch.bool)


def test_a_sound_is_as_similar_to_a_bag_as_to_its_nearest_vector() -> None:
    """Sounds (1, 0) and (0, 1); bags {(1, 0), (0.6, 0.8)}, {(0, -1), (-1, 0)}, {(0.8, 0.6), padding}."""
    sounds = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    bags = torch.tensor(
        [[[1.0, 0.0], [0.6, 0.8]], [[0.0, -1.0], [-1.0, 0.0]], [[0.8, 0.6], [0.0, 1.0]]]
    )
    mask = torch.tensor([[True, True], [True, True], [True, False]])
    expected = torch.tensor([[1.0, 0.0, 0.8], [0.8, 0.0, 0.6]])
    assert torch.equal(bag_similarity(sounds, bags, mask), expected)


def test_localisation_by_hand() -> None:
    """Similarities [[0.8, 0.6], [0, 1]] at temperature 0.5: rows are sounds, columns pictures."""
    sounds = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    bags = torch.tensor([[[0.8, -0.6], [0.0, -1.0]], [[0.6, 0.8], [0.0, 1.0]]])
    # sound 0: max(0.8, 0), max(0.6, 0); sound 1: max(-0.6, -1), max(0.8, 1)
    to_pictures = [
        -math.log(math.exp(1.6) / (math.exp(1.6) + math.exp(1.2))),
        -math.log(math.exp(2.0) / (math.exp(-1.2) + math.exp(2.0))),
    ]
    to_sounds = [
        -math.log(math.exp(1.6) / (math.exp(1.6) + math.exp(-1.2))),
        -math.log(math.exp(2.0) / (math.exp(1.2) + math.exp(2.0))),
    ]
    expected = [(a + b) / 2 for a, b in zip(to_pictures, to_sounds, strict=True)]
    actual = localisation(sounds, bags, every(bags), 0.5)
    assert actual.tolist() == pytest.approx(expected, abs=FLOAT)


def test_alignment_by_hand() -> None:
    """Three sounds, the first two of mixed picture 1, the last of picture 0; similarities are coordinates."""
    similarity = [[0.6, 0.8], [0.8, 0.6], [1.0, 0.0]]
    sounds = torch.tensor(similarity)
    bags = torch.eye(2)[:, None]  # one patch each
    contains = torch.tensor([[False, True], [False, True], [True, False]])
    logits = [[value / 0.1 for value in row] for row in similarity]

    def cost(chosen: float, *others: float) -> float:
        return math.log(sum(math.exp(other) for other in others)) - chosen

    columns = list(zip(*logits, strict=True))
    to_pictures = [cost(row[target], *row) for row, target in zip(logits, (1, 1, 0), strict=True)]
    # of picture 1, whose target is half the first sound and half the second
    both = (cost(logits[0][1], *columns[1]) + cost(logits[1][1], *columns[1])) / 2
    to_sounds = [both, both, cost(logits[2][0], *columns[0])]
    expected = [(a + b) / 2 for a, b in zip(to_pictures, to_sounds, strict=True)]
    actual = alignment(sounds, bags, every(bags), contains, 0.1)
    assert actual.tolist() == pytest.approx(expected, abs=FLOAT)


def test_recognition_is_the_cross_entropy_of_torch_in_both_directions() -> None:
    sounds, pictures = unit_vectors(5, 3, seed=1), unit_vectors(5, 3, seed=2)
    logits, order = sounds @ pictures.T / 0.1, torch.arange(5)
    cross_entropy = torch.nn.CrossEntropyLoss(reduction="none")
    expected = (cross_entropy(logits, order) + cross_entropy(logits.T, order)) / 2
    torch.testing.assert_close(recognition(sounds, pictures, 0.1), expected, atol=FLOAT, rtol=0)


def test_bags_of_one_patch_make_localisation_recognition() -> None:
    sounds, pictures = unit_vectors(4, 6, seed=3), unit_vectors(4, 6, seed=4)
    bags = pictures[:, None]
    expected = recognition(sounds, pictures, 0.2)
    torch.testing.assert_close(
        localisation(sounds, bags, every(bags), 0.2), expected, atol=FLOAT, rtol=0
    )


def test_padding_changes_nothing() -> None:
    sounds, bags = unit_vectors(3, 5, seed=5), unit_vectors(3, 4, 5, seed=6)
    padded = torch.cat([bags, torch.randn(3, 2, 5, generator=rng(7))], dim=1)
    mask = torch.tensor([[True] * 4 + [False] * 2] * 3)
    assert torch.equal(
        localisation(sounds, padded, mask, 0.1), localisation(sounds, bags, every(bags), 0.1)
    )


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="temperature is 0; expected more than 0 to 100"):
        AudioVisualConfig(temperature=0)

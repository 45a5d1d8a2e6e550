"""Groups of classes that are names for one sound, and the degrees of words for none of them."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from tiny import rng, tiny_separator

from qsep.separation.inference.unexplained import (
    BIAS,
    CLOSENESS,
    CONFIDENCE,
    MAX_DISTANCE,
    class_groups,
    features,
    group_degrees,
    overlaps_of,
)


def overlaps_with(cosines: dict[tuple[int, int], float], loudness: list[float]) -> np.ndarray:
    """Overlaps whose diagonal is `loudness`, with these cosines between classes."""
    overlaps = np.diag(np.array(loudness, float))
    for (first, second), cosine in cosines.items():
        value = cosine * np.sqrt(loudness[first] * loudness[second])
        overlaps[first, second] = overlaps[second, first] = value
    return overlaps


def same(groups: np.ndarray) -> list[set[int]]:
    return sorted(({*np.flatnonzero(groups == each)} for each in set(groups)), key=min)


@pytest.mark.parametrize(("cosine", "joined"), [(0.24, False), (0.26, True)])
def test_classes_are_one_sound_from_a_cosine_of_a_quarter_on(cosine: float, joined: bool) -> None:
    assert MAX_DISTANCE == 0.75
    groups = class_groups(overlaps_with({(0, 1): cosine}, [5, 4, 0]))
    assert (groups[0] == groups[1]) is np.bool_(joined)


def test_the_distance_of_groups_is_the_mean_over_their_classes() -> None:
    """Hand: 0 and 1 join at 0.1; their mean cosine with 2 is (0.4 + 0.04) / 2 = 0.22, below 0.25."""
    cosines = {(0, 1): 0.9, (0, 2): 0.4, (1, 2): 0.04}
    assert same(class_groups(overlaps_with(cosines, [5, 4, 3, 0]))[:3]) == [{0, 1}, {2}]
    cosines[1, 2] = 0.12  # 0.26
    assert same(class_groups(overlaps_with(cosines, [5, 4, 3, 0]))[:3]) == [{0, 1, 2}]


def test_a_faint_class_joins_the_sound_that_it_overlaps_and_connects_none() -> None:
    cosines = {(0, 2): 0.6, (1, 2): 0.5}
    assert same(class_groups(overlaps_with(cosines, [5000, 5000, 1e-4, 0]))[:3]) == [{0, 2}, {1}]


@pytest.mark.parametrize("loudness", [[0, 0, 0], [7, 0, 0]])
def test_silence_and_a_single_class_are_one_group(loudness: list[float]) -> None:
    overlaps = np.diag(np.array(loudness, float))
    groups = class_groups(overlaps)
    assert same(groups) == [{0, 1, 2}]
    assert group_degrees(groups, overlaps, np.array([0.3, 0, 0])).tolist() == [1, 1, 1]


def test_closeness_is_a_mean_over_loudness_and_confidence_over_probability() -> None:
    """Hand: loudness 3, 1 and 2, closeness 0.3 and 0.1; confidence (2 + 0.5) / 4 and 2 / 2."""
    groups = np.array([0, 0, 1, 1])
    overlaps = np.diag([2, 0.5, 2, 0])
    overlaps[0, 1] = overlaps[1, 0] = 0.5
    overlaps[0, 3] = 0.5  # one more of what is loud
    close, confidence = features(groups, overlaps, np.array([0.2, 0.6, 0.1, 5.0]))
    np.testing.assert_allclose(close, [0.1, -0.1])
    np.testing.assert_allclose(confidence, np.log([0.625, 1]))


def test_degrees_are_a_logistic_function_of_closeness_and_confidence() -> None:
    groups, overlaps = np.array([0, 1, 1]), np.diag([0.1, 0.4, 0.0])
    overlaps[0, 2] = 0.9  # a group of many classes: confidence 0.1
    degrees = group_degrees(groups, overlaps, np.array([0.2, 0.0, 0.0]))
    odds = [BIAS + 0.1 * CLOSENESS + CONFIDENCE * np.log(0.1), BIAS - 0.1 * CLOSENESS]
    expected = 1 / (1 + np.exp(-np.array(odds)))
    np.testing.assert_allclose(degrees, [expected[0], expected[1], expected[1]], rtol=1e-6)


@pytest.mark.parametrize("clear", [0, 1])
def test_of_sounds_that_the_words_resemble_alike_the_one_of_no_clear_class_is_taken(
    clear: int,
) -> None:
    """A confidence of 0.5 against 0.03."""
    overlaps = np.zeros((5, 5))
    for row in (0, 1):
        certain = 0.5 if row == clear else 0.03
        overlaps[row, row], overlaps[row, 4] = certain, 1 - certain
    degrees = group_degrees(np.array([0, 1, 1, 1, 1]), overlaps, np.zeros(5))
    assert degrees[1 - clear] > 0.6
    assert degrees[clear] < 0.35


def test_overlaps_of_a_recording_are_those_of_its_windows() -> None:
    """Windows of ten seconds that overlap by half: of 15 s there are two."""
    separator = tiny_separator("class_unet")
    rate = separator.sample_rate
    waveform = torch.randn(1, 15 * rate, generator=rng(4))

    def blocks() -> Iterator[np.ndarray]:
        yield from np.array_split(waveform.numpy(), 7, axis=-1)

    with torch.inference_mode():
        parts = [
            separator.class_analysis(waveform[None, :, s * rate :][..., : 10 * rate]).overlaps()
            for s in (0, 5)
        ]
    expected = sum(part[0].double() for part in parts)
    actual = overlaps_of(separator, blocks(), rate)
    # 1e-5: float32 sums
    np.testing.assert_allclose(actual, expected.numpy(), rtol=1e-5)

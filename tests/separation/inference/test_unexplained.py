"""Groups of classes that are names for one sound, and the degrees of words for none of them."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from tiny import noise, rng, tiny_separator

from qsep.queries.encoders import joint
from qsep.queries.interface import QueryEmbedding
from qsep.separation.inference import unexplained
from qsep.separation.inference.unexplained import (
    CLOSENESS,
    CONFIDENCE,
    HEARD,
    MAX_DISTANCE,
    MAX_HEARD,
    Scene,
    class_groups,
    features,
    group_degrees,
    group_events,
    scene_of,
)
from qsep.separation.models.class_unet import Analysed

UNHEARD = np.zeros((2, 3))  # two groups, three events


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
    scene = Scene(overlaps, groups, np.zeros((1, 0)))
    assert group_degrees(scene, np.array([0.3, 0, 0]), np.zeros(3)).tolist() == [1, 1, 1]


def test_closeness_is_a_mean_over_loudness_and_confidence_over_probability() -> None:
    """Hand: loudness 3, 1 and 2, closeness 0.3 and 0.1; confidence (2 + 0.5) / 4 and 2 / 2."""
    groups = np.array([0, 0, 1, 1])
    overlaps = np.diag([2, 0.5, 2, 0])
    overlaps[0, 1] = overlaps[1, 0] = 0.5
    overlaps[0, 3] = 0.5  # one more of what is loud
    scene = Scene(overlaps, groups, UNHEARD)
    close, confidence, fit = features(scene, np.array([0.2, 0.6, 0.1, 5.0]), np.ones(3))
    np.testing.assert_allclose(close, [0.1, -0.1])
    np.testing.assert_allclose(confidence, [np.log(0.625) / 2, -np.log(0.625) / 2])
    assert fit.tolist() == [0, 0]


def test_the_fit_is_the_mean_logit_of_the_events_that_the_words_mean() -> None:
    """Hand: 0.5 x 2 + 0.25 x -4 = 0 and 0.5 x 6 + 0.25 x 4 = 4, less their mean."""
    scene = Scene(np.eye(3), np.array([0, 1, 1]), np.array([[2.0, -4, 9], [6, 4, -9]]))
    *_, fit = features(scene, np.zeros(3), np.array([0.5, 0.25, 0]))
    assert fit.tolist() == [-2, 2]


def test_degrees_are_a_logistic_function_of_closeness_confidence_and_fit() -> None:
    groups, overlaps = np.array([0, 1, 1]), np.diag([0.1, 0.4, 0.0])
    overlaps[0, 2] = 0.9  # a group of many classes: confidence 0.1
    scene = Scene(overlaps, groups, np.array([[1.0, 0], [1.0, 6]]))
    degrees = group_degrees(scene, np.array([0.2, 0.0, 0.0]), np.array([0.5, 0.5]))
    half = 0.1 * CLOSENESS + CONFIDENCE * np.log(0.1) / 2 - 1.5 * HEARD
    odds = [half, -half]
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
    scene = Scene(overlaps, np.array([0, 1, 1, 1, 1]), UNHEARD)
    degrees = group_degrees(scene, np.zeros(5), np.ones(3))
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
    actual = scene_of(separator, blocks(), rate)
    # 1e-5: float32 sums
    np.testing.assert_allclose(actual.overlaps, expected.numpy(), rtol=1e-5)


def test_each_group_is_heard_as_it_is_separated() -> None:
    """Two mixtures, each weighted by the amplitudes of the groups in it."""
    separator, tagger = tiny_separator("class_unet"), joint.shipped()
    groups = np.arange(len(separator.classes) + 1) % 2
    mixtures = [gain * noise(1, 9000 + 40 * gain, seed=gain) for gain in (1, 3)]
    members = torch.from_numpy(np.stack([1 - groups, groups]))[None].float()
    weighted, weights = np.zeros((2, 521)), np.zeros((2, 1))
    with torch.inference_mode():
        for mixture in mixtures:
            targets = separator.separate(mixture[None], QueryEmbedding(members)).target[0, :, 0]
            for row, target in enumerate(targets):
                amplitude = float(target.double().square().mean().sqrt())
                sound = tagger.resampled(target[None], separator.sample_rate)
                weighted[row] += amplitude * tagger.event_logits(sound)[0]
                weights[row] += amplitude
        analyses = [separator.class_analysis(mixture[None]) for mixture in mixtures]
        events = group_events(separator, analyses, groups)
    # 1e-4: batches of one sound against one of all
    np.testing.assert_allclose(events, weighted / weights, rtol=1e-4, atol=1e-4)


def test_of_a_long_recording_some_windows_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 16 windows every fourth, spread over the recording."""
    separator = tiny_separator("class_unet")
    rate = separator.sample_rate
    heard: list[torch.Tensor] = []

    def record(_: object, analyses: list[Analysed], groups: np.ndarray) -> np.ndarray:
        heard.extend(analysis.energy for analysis in analyses)
        return np.zeros((groups.max() + 1, 521))

    monkeypatch.setattr(unexplained, "group_events", record)
    monkeypatch.setattr(unexplained, "class_groups", lambda overlaps: np.arange(len(overlaps)) % 2)
    waveform = noise(1, 85 * rate)
    scene_of(separator, [waveform.numpy()], rate)
    assert len(heard) <= MAX_HEARD
    for energy, start in zip(heard, (0, 20, 40, 60), strict=True):
        window = waveform[None, :, start * rate :][..., : 10 * rate]
        torch.testing.assert_close(energy, separator.class_analysis(window).energy)

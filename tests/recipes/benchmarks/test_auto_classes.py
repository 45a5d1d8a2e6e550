"""qsep.recipes.benchmarks.quality.auto_classes: its scores against a count by hand."""

import numpy as np

from qsep.evaluation.items.manifest import Cut, MixtureRow
from qsep.recipes.benchmarks.quality.auto_classes import at_level, background_for, scores


def test_a_family_is_right_and_finds_its_classes_if_one_of_them_is_present() -> None:
    dog, animals, piano = frozenset({"dog"}), frozenset({"dog", "cat"}), frozenset({"piano"})
    detected = [[dog, piano], [animals], []]
    present = [{"dog", "rain"}, {"dog", "cat", "rain"}, {"piano"}]
    # Right: dog and animals, of three names; found: dog, and dog and cat, of six sounds.
    assert scores(detected, present) == "F1 0.571, precision 0.667, recall 0.500"
    assert scores([[]], [{"dog"}]) == "F1 0.000, precision 0.000, recall 0.000"


def row(label: str, other: str) -> MixtureRow:
    cut = Cut(f"{label}.ogg", 0.0)
    return MixtureRow(label, label, 5.0, label, (cut,), (cut,), (other,), 0.0)


def test_a_background_is_a_steady_sound_that_the_mixture_lacks() -> None:
    rows = [
        row("rain", "dog_bark"),
        row("wind", "rain"),
        row("dog_bark", "wind"),
        row("piano", "x"),
    ]
    assert background_for(rows, 0).label == "wind"
    assert background_for(rows, 2).label == "rain"
    assert background_for(rows, 3).label == "wind"  # 7 x 3 = 21, odd, of rain and wind


def test_the_background_lies_so_many_decibels_below_the_mixture() -> None:
    sound, mixture = np.array([1, -1, 1, 0], np.float32), np.array([3, 3, -3, 3], np.float32)
    actual = at_level(sound, mixture, -10)
    # powers 0.75 and 9; 0.9 is 10 dB below
    np.testing.assert_allclose(np.square(actual).mean(), 0.9, rtol=1e-6)
    np.testing.assert_allclose(actual, actual[0] * sound, rtol=1e-6)

"""qsep.recipes.benchmarks.quality.auto_classes: its scores against a count by hand."""

from qsep.recipes.benchmarks.quality.auto_classes import scores


def test_a_family_is_right_and_finds_its_classes_if_one_of_them_is_present() -> None:
    dog, animals, piano = frozenset({"dog"}), frozenset({"dog", "cat"}), frozenset({"piano"})
    detected = [[dog, piano], [animals], []]
    present = [{"dog", "rain"}, {"dog", "cat", "rain"}, {"piano"}]
    # Right: dog and animals, of three names; found: dog, and dog and cat, of six sounds.
    assert scores(detected, present) == "F1 0.571, precision 0.667, recall 0.500"
    assert scores([[]], [{"dog"}]) == "F1 0.000, precision 0.000, recall 0.000"

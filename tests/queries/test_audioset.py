"""AudioSet's ontology has the sizes that were counted in the original."""

from collections import Counter

from qsep.queries.audioset import audioset, class_nodes


def test_levels_have_as_many_nodes_as_in_the_original() -> None:
    sizes = Counter(len(node.path) for node in audioset().values())
    assert [sizes[level] for level in range(1, 7)] == [7, 42, 286, 229, 63, 5]


def test_roots_have_as_many_classes_as_in_the_original() -> None:
    counts = Counter(node.path[0] for node in class_nodes())
    assert counts == {
        "Human sounds": 72,
        "Animal": 65,
        "Music": 146,
        "Natural sounds": 17,
        "Sounds of things": 166,
        "Source-ambiguous sounds": 40,
        "Channel, environment and background": 21,
    }


def test_levels_have_as_many_nodes_with_classes_as_in_the_original() -> None:
    for level, size in ((1, 7), (2, 41), (3, 251), (4, 198)):
        assert len({node.path[:level] for node in class_nodes() if len(node.path) >= level}) == size


def test_class_numbers_are_those_of_the_taggers() -> None:
    names = [node.name for node in class_nodes()]
    assert len(names) == 527
    known = {
        0: "Speech",
        72: "Animal",
        74: "Dog",
        137: "Music",
        288: "Water",
        526: "Field recording",
    }
    assert {index: names[index] for index in known} == known
    assert [node.index for node in class_nodes()] == list(range(527))
    assert len({node.mid for node in audioset().values()}) == 632


def test_a_path_leads_from_a_root_to_the_sound() -> None:
    assert audioset()["Bark"].path == ("Animal", "Domestic animals, pets", "Dog", "Bark")
    assert audioset()["Violin, fiddle"].mid == "/m/07y_7"
    assert audioset()["Human voice"].index is None

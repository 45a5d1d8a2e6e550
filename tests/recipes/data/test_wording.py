"""Phrase books: many wordings a label, none ambiguous."""

from pathlib import Path

import pytest

from qsep.recipes.data.synthetic import KINDS
from qsep.recipes.data.wording import FRAMES, load_phrase_book, with_frames

BOOK = load_phrase_book("sounds21")
GROUPS = {**BOOK.phrases, "(other)": BOOK.other}
TINY = """
[labels.rain]
name = "rain"
phrases = ["rain", "a downpour that will not end until tomorrow"]
[labels.flute]
name = "a flute"
phrases = ["flute", "flutist"]
[other]
phrases = ["traffic"]
"""


def test_the_book_has_the_21_labels_of_sounds21() -> None:
    assert len(BOOK.labels) == 21
    assert set(KINDS) < set(BOOK.labels)


def test_every_label_has_one_name_of_its_own() -> None:
    assert len(set(BOOK.names)) == len(BOOK.labels)
    assert dict(zip(BOOK.labels, BOOK.names, strict=True))["dog_bark"] == "a dog barking"


@pytest.mark.parametrize("label", BOOK.labels)
def test_every_label_has_dozens_of_wordings(label: str) -> None:
    assert len(BOOK.phrases[label]) >= 100


def test_hundreds_of_wordings_name_something_else() -> None:
    assert len(BOOK.other) >= 500


def test_no_wording_belongs_to_two_labels() -> None:
    owners: dict[str, str] = {}
    shared = []
    for label, phrases in GROUPS.items():
        for phrase in phrases:
            key = " ".join(phrase.lower().split())
            if owners.setdefault(key, label) != label:
                shared.append((phrase, owners[key], label))
    assert shared == []


def test_no_wording_is_empty_or_padded() -> None:
    phrases = [phrase for group in GROUPS.values() for phrase in group]
    assert [phrase for phrase in phrases if not phrase or phrase != phrase.strip()] == []


def test_no_wording_is_repeated_under_its_label() -> None:
    assert {label: len(set(group)) for label, group in GROUPS.items()} == {
        label: len(group) for label, group in GROUPS.items()
    }


def test_phrases_are_numbered_by_label_and_those_of_other_sounds_last(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    texts, indices = load_phrase_book(str(tmp_path / "tiny.toml")).indexed_phrases()
    assert dict(zip(texts, indices, strict=True)) == {
        "rain": 0,
        "the sound of rain": 0,
        "a downpour that will not end until tomorrow": 0,
        "flute": 1,
        "the sound of flute": 1,
        "flutist": 1,
        "only flutist": 1,
        "traffic": 2,
        "the sound of traffic": 2,
    }


def test_short_phrases_are_framed_in_turn_and_sentences_stay_bare() -> None:
    assert with_frames(["rain", "one two three four five six", "wind"]) == (
        "rain",
        "one two three four five six",
        "wind",
        FRAMES[0].format("rain"),
        FRAMES[2].format("wind"),
    )


def test_an_unknown_book_is_named() -> None:
    with pytest.raises(ValueError, match=r"nosuch\.toml: no such phrase book"):
        load_phrase_book("nosuch")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[labels", "not a phrase book"),
        ("", "'labels' is missing"),
        (TINY.partition("[other]")[0], "'other' is missing"),
        ("labels = 3", "not a phrase book"),
    ],
)
def test_a_file_that_is_not_a_phrase_book_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "odd.toml").write_text(text)
    with pytest.raises(ValueError, match=rf"odd\.toml: .*{message}"):
        load_phrase_book(str(tmp_path / "odd.toml"))

"""The phrase book of 150 sounds and their families, and the held-out wordings that it is measured by."""

from __future__ import annotations

import csv
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from repository import SHARED

from qsep.evaluation.items import corpus
from qsep.queries import reading

BOOKS = Path(reading.__file__).parent.parent / "phrase_books"
WORDINGS = corpus.MANIFESTS_DIR / "sounds150-wordings.toml"
KINDS = corpus.MANIFESTS_DIR / "sounds150-kinds.csv"
CORPUS_KINDS = SHARED / "data/sounds150/kinds.csv"
ARTICLES = {"a", "an", "the", "some"}


def load(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text("utf-8"))


def content(text: str) -> tuple[str, ...]:
    """The words without articles, sorted."""
    return tuple(sorted(word for word in text.split() if word not in ARTICLES))


BOOK = load(BOOKS / "sounds150.toml")
FAMILIES = load(BOOKS / "families.toml")["families"]
HELD_OUT = load(WORDINGS)
with KINDS.open(newline="") as file:
    LISTED = list(csv.DictReader(file))


def owners() -> list[tuple[str, str]]:
    """(phrase in lower case, kind, family or "other"), of both books."""
    groups = {f"family {name}": entry["phrases"] for name, entry in FAMILIES.items()}
    groups |= {kind: entry["phrases"] for kind, entry in BOOK["labels"].items()}
    groups["other"] = BOOK["other"]["phrases"]
    return [(text.casefold(), owner) for owner, texts in groups.items() for text in texts]


def test_committed_list_of_kinds_is_that_of_the_corpus() -> None:
    if not CORPUS_KINDS.is_file():
        pytest.skip("the corpus sounds150 is not beside this checkout")
    with CORPUS_KINDS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [{key: row[key] for key in rows[0]} for row in LISTED] == rows


def test_book_has_all_150_kinds_in_order_under_their_plain_wordings() -> None:
    assert len(LISTED) == 150
    named = [(kind, entry["name"]) for kind, entry in BOOK["labels"].items()]
    assert named == [(row["kind"], row["plain"]) for row in LISTED]


def test_every_kind_has_35_phrases_or_more_and_other_has_250() -> None:
    few = [kind for kind, entry in BOOK["labels"].items() if len(entry["phrases"]) < 35]
    assert few == []
    assert len(BOOK["other"]["phrases"]) >= 250


def test_no_phrase_is_repeated_in_the_books() -> None:
    counts = Counter(text for text, _ in owners())
    assert [text for text, count in counts.items() if count > 1] == []


def test_plain_wording_of_a_kind_is_no_phrase_of_another() -> None:
    kinds = {row["plain"].casefold(): row["kind"] for row in LISTED}
    assert [pair for pair in owners() if kinds.get(pair[0], pair[1]) != pair[1]] == []


def test_members_of_families_are_kinds_each_once() -> None:
    kinds = set(BOOK["labels"])
    for name, entry in FAMILIES.items():
        assert set(entry["members"]) <= kinds, name
        assert len(set(entry["members"])) == len(entry["members"]) >= 2, name


def test_families_of_the_corpus_have_the_members_that_it_lists() -> None:
    listed: dict[str, list[str]] = {}
    for row in LISTED:
        for family in filter(None, row["families"].split(",")):
            listed.setdefault(family, []).append(row["kind"])
    assert len(listed) == 21
    assert {name: FAMILIES[name]["members"] for name in listed} == listed


def test_every_kind_and_family_has_held_out_wordings() -> None:
    assert list(HELD_OUT["wordings"]) == list(BOOK["labels"])
    assert all(4 <= len(texts) <= 6 for texts in HELD_OUT["wordings"].values())
    assert set(HELD_OUT["families"]) == set(FAMILIES)
    assert all(len(texts) == 3 for texts in HELD_OUT["families"].values())


def test_held_out_wordings_are_absent_from_the_books_in_any_order_of_words() -> None:
    known = {text for text, _ in owners()}
    known |= {entry["name"].casefold() for entry in [*BOOK["labels"].values(), *FAMILIES.values()]}
    tables = [HELD_OUT["wordings"], HELD_OUT["families"], HELD_OUT["absent"]]
    texts = [text.casefold() for table in tables for group in table.values() for text in group]
    assert len(texts) == len(set(texts)) == 150 * 5 + 3 * len(FAMILIES) + 45
    same_words = {content(text) for text in known}
    assert [text for text in texts if content(text) in same_words] == []

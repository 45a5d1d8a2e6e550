"""Captions are split into the sounds that they name, as listed by hand."""

import tomllib
from pathlib import Path

import pytest

from qsep.recipes.data.captions.phrases import sound_phrases, verb_forms

TABLE = tomllib.loads(Path(__file__).with_name("caption_phrases.toml").read_text("utf-8"))


def test_the_table_is_long_enough_and_says_more_than_where_to_cut() -> None:
    assert len(TABLE) >= 60
    restored = [
        caption
        for caption, phrases in TABLE.items()
        if any(phrase not in caption.lower() for phrase in phrases)
    ]
    assert len(restored) >= 12  # phrases that regained a subject or a verb


@pytest.mark.parametrize("caption", TABLE)
def test_a_caption_names_these_sounds(caption: str) -> None:
    assert sound_phrases(caption) == TABLE[caption]


@pytest.mark.parametrize("phrase", sorted({phrase for row in TABLE.values() for phrase in row}))
def test_a_phrase_is_one_phrase(phrase: str) -> None:
    """Splitting a phrase again changes nothing; "a loud and deep growl" is one."""
    assert sound_phrases(phrase) == [phrase]


@pytest.mark.parametrize("caption", ["", "...", "and", "  then, ", "silence"])
def test_a_caption_that_names_no_sound_is_returned_unchanged(caption: str) -> None:
    assert len(sound_phrases(caption)) == 1


def test_inflected_verbs_are_recognised() -> None:
    for form in ("barks", "clapping", "cries", "splashes", "idling", "buzzing", "chattering"):
        assert form in verb_forms(), form
    assert "claping" not in verb_forms()
    assert "chatterring" not in verb_forms()

"""qsep.queries.reading.spelling: misspelt words, other scripts, and equal phrases."""

import pytest

from qsep.queries.reading.reader import key
from qsep.queries.reading.spelling import Speller, check_script


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("dgo barkng", "dog barking"),  # a swap; a letter too few
        ("Pinao", "piano"),
        ("meowingg kittten", "meowing kitten"),
        ("engines", "engines"),  # made of one
        ("engine", "engine"),  # a word of the language, though not of the book
        ("kat", "cat"),
        ("theremin", "theremin"),  # unlike all
        ("xy", "xy"),
    ],
)
def test_misspelt_words_are_read(written: str, meant: str) -> None:
    speller = Speller(
        ["a dog barking", "piano", "a cat meowing", "kitten"], {"engine"}.__contains__
    )
    assert speller.correct(written)[0] == meant


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("собака", "not Cyrillic"),
        ("dog и cat", "not Cyrillic"),
        ("犬の鳴き声", "not Cjk"),
        ("σκύλος", "not Greek"),
        ("كلب", "not Arabic"),
        ("🐶", "no words"),
        ("123 !", "no words"),
    ],
)
def test_scripts_that_are_not_read_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_script(text)


def test_accents_pass_and_emoji_are_left_out() -> None:
    assert check_script("güiro, naïve café") == "güiro, naïve café"
    assert check_script("a dog 🐶👍🏽") == "a dog"


@pytest.mark.parametrize("text", ["the dog", "A  Dog.", " dog", "“dog”", "some DOG!"])
def test_phrases_are_equal_but_for_case_article_and_stops(text: str) -> None:
    assert key(text) == "dog"

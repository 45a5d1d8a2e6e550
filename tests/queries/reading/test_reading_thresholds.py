"""The thresholds of the reading of words, each from both sides.

The similarities of words to the book are given, so that only the thresholds decide.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from qsep.queries.reading.book import Book, Entry
from qsep.queries.reading.expression import Atom, Expression, Union
from qsep.queries.reading.reader import Reader, resolved
from qsep.queries.reading.reading import Familiarity
from qsep.queries.reading.spelling import Speller

BOOK = Book(
    {"dog": Entry("a dog", ("hound",)), "cat": Entry("a cat", ("kitten",))},
    {},
    ("zipper",),
)


class Given:
    """Odds of dog, cat and other, and cosines to the nearest phrase of each, by the words themselves."""

    typical = np.zeros(3, np.float32)

    def __init__(self, known: Mapping[str, tuple[list[float], list[float]]]) -> None:
        self.known = known

    def odds(self, words: str) -> tuple[Any, Any]:
        odds, nearest = self.known[words]
        return np.array(odds, np.float32), np.array(nearest, np.float32)


def reader(**known: tuple[list[float], list[float]]) -> Reader:
    likeness: Any = Given(known)
    embed: Any = lambda texts: texts  # noqa: E731  # `Given` takes the words for their vector
    return Reader(BOOK, likeness, embed, lambda word: word in known and word != "kiten")


@pytest.mark.parametrize(
    ("cosine", "other", "familiarity"),
    [
        (0.61, 0.1, Familiarity.KNOWN),
        (0.59, 0.1, Familiarity.NEAR),
        (0.51, 0.1, Familiarity.NEAR),
        (0.49, 0.1, Familiarity.UNKNOWN),
        # likelier none of the classes than one of them
        (0.61, 0.6, Familiarity.NEAR),
        (0.59, 0.6, Familiarity.UNKNOWN),
    ],
)
def test_words_are_known_from_a_cosine_of_06_and_near_from_05(
    cosine: float, other: float, familiarity: Familiarity
) -> None:
    atom = reader(wolf=([1 - other, 0, other], [cosine, 0, 0.9])).read_atom("wolf")
    assert atom.familiarity is familiarity
    degrees = [0, 0, 1] if familiarity is Familiarity.UNKNOWN else [1, 0, 0]
    assert atom.degrees.tolist() == degrees


@pytest.mark.parametrize(
    ("relative", "degree"), [(0.28, 0.0), (0.34, 0.1), (0.5, 0.5), (0.66, 0.9), (0.72, 1.0)]
)
def test_degrees_rise_from_three_to_seven_tenths_of_the_likeliest_odds(
    relative: float, degree: float
) -> None:
    odds = [0.5, 0.5 * relative, 0.5 - 0.5 * relative]
    atom = reader(puppy=(odds, [0.8, 0.7, 0])).read_atom("puppy")
    assert atom.degrees[:2].tolist() == pytest.approx([1, degree], abs=1e-6)


@pytest.mark.parametrize(("cosine", "understood"), [(0.84, "a cat"), (0.86, "a dog")])
def test_a_spelling_is_corrected_where_that_is_015_more_familiar(
    cosine: float, understood: str
) -> None:
    """Corrected, the word is a phrase of the book: 1."""
    actual = reader(kiten=([0.8, 0.1, 0.1], [cosine, 0, 0])).read("kiten")
    assert actual.understood == understood


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("violyn", "violin"),  # six letters, one edit
        ("vyolyn", None),  # six, two
        ("trumpette", "trumpets"),  # nine, two
        ("drumpette", None),  # nine, three
    ],
)
def test_words_of_more_than_six_letters_are_corrected_by_two_edits(
    written: str, meant: str | None
) -> None:
    assert Speller(["violin", "trumpets"], lambda word: False).corrected(written) == meant


FAMILIARITY = {"bow": 0.7, "arrow": 0.6, "bow and arrow": 0.0, "bow hunting": 0.7}


@pytest.mark.parametrize(("whole", "is_one"), [(0.69, False), (0.71, True)])
def test_a_list_is_one_name_where_that_is_a_tenth_more_familiar(whole: float, is_one: bool) -> None:
    similarity = FAMILIARITY | {"bow and arrow": whole}
    listed = Union((Atom("bow"), Atom("arrow")), "bow and arrow")
    expected: Expression = Atom("bow and arrow") if is_one else Union(listed.parts)
    assert resolved(listed, similarity.__getitem__) == expected


@pytest.mark.parametrize(("shared", "is_shared"), [(0.64, False), (0.66, True)])
def test_parts_share_their_end_where_that_is_a_twentieth_more_familiar(
    shared: float, is_shared: bool
) -> None:
    similarity = FAMILIARITY | {"arrow hunting": shared}
    split, joint = (Atom("bow"), Atom("arrow")), (Atom("bow hunting"), Atom("arrow hunting"))
    actual = resolved(Union(split, "", joint), similarity.__getitem__)
    assert actual == Union(joint if is_shared else split)

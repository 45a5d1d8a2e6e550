"""qsep.separation.audio.file_names: any query becomes a safe part of a file name."""

import re
import unicodedata

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from qsep.separation.audio.file_names import slug


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("a dog barking", "a-dog-barking"),
        ("  Rain,\n on a TIN roof! ", "rain-on-a-tin-roof"),
        ("next door's terrier is at it again", "next-doors-terrier-is-at-it-again"),
        ("808 kick", "808-kick"),
    ],
)
def test_plain_words_are_joined_by_hyphens_and_nothing_else(query: str, expected: str) -> None:
    assert slug(query) == expected


@settings(deadline=None)  # a busy machine is no fault of the name
@given(st.text(st.characters(exclude_categories=[]), max_size=200))
@example("../../etc/passwd")
@example("-rf")
@example("COM1")
@example("\0")
@example("\ud800")
@example("")
def test_every_query_becomes_a_short_lower_case_name(query: str) -> None:
    name = slug(query)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
    assert len(name.encode()) <= 60


@settings(deadline=None)  # a busy machine is no fault of the name
@given(st.text(max_size=80), st.text(max_size=80))
@example("a/b", "a b")
@example("café", "cafe")
@example("🐕", "🐈")
@example("كلب", "قطة")
@example("x" * 70 + "a", "x" * 70 + "b")
def test_queries_that_read_differently_get_different_names(first: str, second: str) -> None:
    def reading(query: str) -> list[str]:
        spoken = unicodedata.normalize("NFC", query).lower()
        return re.sub('[.,;:!?"-]', " ", re.sub("['’]", "", spoken)).split()

    assume(reading(first) != reading(second))
    assert slug(first) != slug(second)


@pytest.mark.parametrize("device", ["con", "PRN", "aux", "NUL", "com7", "lpt1"])
def test_a_windows_device_name_is_extended(device: str) -> None:
    assert re.fullmatch(rf"{device.lower()}-[0-9a-f]{{8}}", slug(device))


def test_a_long_query_is_cut_between_words() -> None:
    name = slug("the distant rumble of thunder over a wide and empty valley at nightfall")
    assert re.fullmatch(r"the-distant-rumble-of-thunder-over-a-wide-and-empty-[0-9a-f]{8}", name)
    # one word more than fits: 51 letters of words, a hyphen and the hash make 60
    assert len(name) == 60

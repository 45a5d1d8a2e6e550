"""The phrase book encoder and qsep.queries.reading: words as degrees of classes, hand-calculated."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch
from numpy.typing import NDArray

from qsep.queries.encoders import phrase_book
from qsep.queries.encoders.phrase_book import Config, PhraseBook, build
from qsep.queries.interface import AudioQuery, ClassQuery, MixedQuery, Query, TextQuery
from qsep.queries.reading.book import read_book
from qsep.queries.reading.likeness import DECAY, SCALE, SHARPNESS, Likeness, fit, unit
from qsep.queries.reading.reader import KNOWN_FROM, NEAR_FROM
from qsep.separation.inference.unexplained import Scene, class_groups, degrees_in
from qsep.separation.storage.checkpoint import carry_encoder, describe
from qsep.separation.storage.config import stored_encoder

BOOK = """
[labels.dog]
name = "a dog barking"
phrases = ["dog", "hound", "bark"]
[labels.cat]
name = "a cat meowing"
phrases = ["cat", "kitten"]
[labels.piano]
name = "a piano playing"
phrases = ["piano", "grand piano"]
[labels.bow]
name = "an arrow shot from a bow"
phrases = ["bow and arrow"]
[other]
phrases = ["zipper", "velcro"]
"""
FAMILIES = """
[families.animals]
name = "animals"
members = ["dog", "cat"]
phrases = ["animal", "beast"]
"""
MIDDLE = (NEAR_FROM + KNOWN_FROM) / 2
# What words have in common with others; every word has an axis of its own besides.
SYNONYMS = {"puppy": {"dog": 0.9, "kitten": 0.3}, "wolf": {"hound": MIDDLE}}
WIDTH = 96
AXES: dict[str, int] = {}  # a word gets the next one when it is first seen


def axis(word: str) -> int:
    return AXES.setdefault(word, len(AXES))


def embed(texts: list[str]) -> NDArray[np.float32]:
    """A bag of words: a text is the mean of its words' vectors."""
    rows = np.zeros((len(texts), WIDTH), np.float32)
    for row, text in zip(rows, texts, strict=True):
        for word in text.lower().split():
            shared = SYNONYMS.get(word, {})
            for name, weight in shared.items():
                row[axis(name)] += weight
            row[axis(word)] += np.sqrt(1 - sum(weight**2 for weight in shared.values()))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class StubSentences:
    available = True
    vocabulary = frozenset("the wolf puppy engine running without everything but".split())

    def vectors(self, texts: list[str]) -> NDArray[np.float32]:
        return embed(texts)

    def is_word(self, word: str) -> bool:
        return word in self.vocabulary

    def all_vectors(self, texts: list[str]) -> NDArray[np.float32]:
        return embed(texts)


class NoSentences(StubSentences):
    def vectors(self, texts: list[str]) -> NDArray[np.float32]:
        raise AssertionError(f"embeds {texts}")


@pytest.fixture(name="files")
def book_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    monkeypatch.setattr(phrase_book, "Sentences", StubSentences)
    (tmp_path / "book.toml").write_text(BOOK)
    (tmp_path / "families.toml").write_text(FAMILIES)
    return str(tmp_path / "book.toml"), str(tmp_path / "families.toml")


@pytest.fixture(name="encoder", scope="module")
def built_encoder(tmp_path_factory: pytest.TempPathFactory) -> PhraseBook:
    path = tmp_path_factory.mktemp("book") / "book.toml"
    path.write_text(BOOK + FAMILIES)
    encoder = build(Config(phrases=str(path)))
    vars(encoder)["sentences"] = StubSentences()
    return encoder


def degrees(encoder: PhraseBook, text: str) -> dict[str, float]:
    pooled = encoder.encode([TextQuery(text)]).pooled
    assert pooled.shape == (1, 5)
    assert pooled.dtype == torch.float32
    labels = [*encoder.classes, "other"]
    return {label: float(value) for label, value in zip(labels, pooled[0], strict=True) if value}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a dog barking", {"dog": 1}),
        ("The KITTEN", {"cat": 1}),
        ("animals", {"dog": 1, "cat": 1}),
        ("some beast", {"dog": 1, "cat": 1}),
        ("a dog and the piano", {"dog": 1, "piano": 1}),
        ("bow and arrow", {"bow": 1}),
        ("everything but animals", {"piano": 1, "bow": 1, "other": 1}),
        ("animals without the cat", {"dog": 1}),
        ("zipper", {"other": 1}),
        ("everything but a zipper", {"dog": 1, "cat": 1, "piano": 1, "bow": 1}),
        ("nothing", {}),
        ("kiten", {"cat": 1}),
        ("gradn paino", {"piano": 1}),
    ],
)
def test_words_are_degrees(encoder: PhraseBook, text: str, expected: dict[str, float]) -> None:
    assert degrees(encoder, text) == expected


def test_odds_are_the_geometric_mean_of_kernel_and_classifier(encoder: PhraseBook) -> None:
    likeness, vector = encoder.likeness, embed(["puppy barking"])[0]
    assert encoder.book is not None
    texts, owners = encoder.book.phrases()
    kernel = np.exp(SHARPNESS * (embed(texts).astype(float) @ vector))
    by_phrase = [kernel[np.equal(owners, owner)].sum() / kernel.sum() for owner in range(6)]
    linear = np.exp(likeness.weights.astype(float) @ vector + likeness.bias)
    expected = np.sqrt(by_phrase * linear / linear.sum())
    odds, nearest = likeness.odds(vector)
    np.testing.assert_allclose(odds, expected / expected.sum(), rtol=1e-4)  # float32 cosines x 30
    assert nearest[0] == pytest.approx(max(embed(["dog", "bark", "a dog barking"]) @ vector))


def test_a_phrase_nearer_by_a_tenth_of_a_cosine_has_four_and_a_half_times_the_odds() -> None:
    """By hand: weights exp(30 cosine), and the square root of their ratio, as the classifier is even."""
    phrases = np.array([[1, 0], [0.9, np.sqrt(1 - 0.9**2)]], np.float32)
    even = np.zeros((2, 2), np.float32)
    odds, nearest = Likeness(phrases, np.arange(2), even, even[0]).odds(phrases[0])
    assert odds[0] / odds[1] == pytest.approx(np.exp(1.5), rel=1e-4)  # float32 cosines
    np.testing.assert_allclose(nearest, [1, 0.9], rtol=1e-6)


def test_the_classifier_is_a_logistic_regression_at_its_optimum() -> None:
    rng = np.random.default_rng(1)
    owners = [0, 1, 2, 0, 1, 2, 2, 1, 0, 0, 1, 2]
    embeddings = rng.normal(size=(12, 3)).astype(np.float32)
    likeness = fit(embeddings, owners, 3)
    inputs = unit(embeddings).astype(float)
    logits = inputs @ likeness.weights.astype(float).T + likeness.bias
    odds = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    error = (odds - np.eye(3)[owners]) / 12
    # by w = weights / SCALE of u = SCALE * x the slope is error' u + 2 DECAY w, zero at the optimum
    slope = SCALE * error.T @ inputs + 2 * DECAY * likeness.weights / SCALE
    assert np.abs(slope).max() < 5e-3  # from 0.5 at weights of zero, after ITERATIONS steps
    assert np.abs(error.sum(axis=0)).max() < 1e-3


def test_decay_bounds_the_weights_of_classes_that_one_phrase_each_tells_apart() -> None:
    """Of two phrases at right angles all weights are a or -a, in loss log(1 + exp(-20 a)) + 4 a^2 3e-5."""
    likeness = fit(np.eye(2, dtype=np.float32), [0, 1], 2)
    size = scipy.optimize.brentq(lambda a: 20 / (1 + np.exp(20 * a)) - 8 * 3e-5 * a, 0.1, 2)
    expected = 10 * size * np.array([[1, -1], [-1, 1]])  # the inputs were 10 times unit vectors
    np.testing.assert_allclose(likeness.weights, expected, rtol=0.02)  # where L-BFGS stops


def test_a_likely_class_gets_degree_one_and_its_neighbours_none(encoder: PhraseBook) -> None:
    assert degrees(encoder, "puppy") == {"dog": 1}  # cosine 0.9 to "dog", 0.3 to "kitten"


def test_a_word_like_a_class_is_a_guess_and_says_so(encoder: PhraseBook) -> None:
    reading = encoder.read(TextQuery("wolf"))
    assert reading.similarity == pytest.approx(MIDDLE, abs=1e-6)
    assert not reading.known
    assert reading.classes == (("dog", 1.0),)
    assert reading.notes == (
        "'wolf' is not a sound that this model knows: the nearest is a dog barking",
    )


def test_a_word_unlike_all_classes_is_read_as_other(encoder: PhraseBook) -> None:
    reading = encoder.read(TextQuery("an engine running"))
    assert not reading.known
    assert reading.classes == (("other", 1.0),)
    present = np.array([0, 1, 0, 0, 1], np.float32)
    np.testing.assert_array_equal(reading.degrees(lambda atom: present), present)


def test_a_long_query_is_shown_by_its_beginning_and_its_unread_end_is_noted(
    encoder: PhraseBook,
) -> None:
    reading = encoder.read(TextQuery(" ".join(["engine"] * 1500)))
    assert "of its 1500 words at most the first 250 are read" in reading.notes
    assert len(reading.line()) < 600  # three times 80 characters of 10,000
    assert not [n for n in encoder.read(TextQuery("an engine running")).notes if "words" in n]


def test_known_queries_do_not_depend_on_unknown_ones(encoder: PhraseBook) -> None:
    reading = encoder.read(TextQuery("dog"))
    np.testing.assert_array_equal(
        reading.degrees(lambda atom: np.ones(5, np.float32)), [1, 0, 0, 0, 0]
    )


def test_a_reading_describes_how_the_words_were_read_as_classes(encoder: PhraseBook) -> None:
    reading = encoder.read(TextQuery("Please, everything but animls"))
    assert reading.plain() == {
        "text": "Please, everything but animls",
        "understood": "everything but animals",
        "classes": {"piano": 1.0, "bow": 1.0, "other": 1.0},
        "families": ["animals"],
        "complement": True,
        "similarity": 1.0,
        "known": True,
        "notes": ["'animls' is taken for 'animals'"],
    }
    assert json.loads(json.dumps(reading.plain())) == reading.plain()
    assert "\n" not in reading.line()
    assert "everything but animals" in reading.line()


def test_class_queries_are_exact(encoder: PhraseBook) -> None:
    queries: list[Query] = [
        ClassQuery({"cat": 0.5, "bow": 1.0}),
        ClassQuery(["dog"], other=0.25, complement=True),
        MixedQuery(TextQuery("dog"), TextQuery("cat"), weights=(3, 1)),
    ]
    expected = [[0, 0.5, 0, 1, 0], [0, 1, 1, 1, 0.75], [0.75, 0.25, 0, 0, 0]]
    np.testing.assert_array_equal(encoder.encode(queries).pooled, np.array(expected, np.float32))


def test_unknown_classes_and_other_queries_are_refused(encoder: PhraseBook) -> None:
    with pytest.raises(ValueError, match="'horse' is not one of the 4 classes"):
        encoder.encode([ClassQuery(["horse"])])
    with pytest.raises(ValueError, match="not audio"):
        encoder.encode([AudioQuery(np.zeros(9), sample_rate=8000)])
    with pytest.raises(ValueError, match="not text"):
        build(Config(classes=("dog", "cat"))).encode([TextQuery("dog")])


def test_classes_choose_and_order_those_of_the_book(files: tuple[str, str]) -> None:
    encoder = build(Config(classes=("piano", "cat"), phrases=files))
    assert encoder.dim == 3
    pooled = encoder.encode([TextQuery(text) for text in ("cat", "animals", "dog")]).pooled
    assert pooled.tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 1]]  # a dog is none of these


def test_a_checkpoint_carries_the_book(
    files: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = build(Config(classes=("piano", "dog", "cat"), phrases=files))

    class Model:
        config = Config()
        sample_rate = 8000

    description = describe("stub", Model(), "phrase_book", encoder, {})
    (tmp_path / "model").mkdir()
    carried = carry_encoder(description, encoder, tmp_path / "model")
    assert carried == tmp_path / "model" / "encoder"
    assert description["encoder"]["config"]["folder"] == "./encoder"
    words = (carried / phrase_book.WORDS_FILE).read_text("utf-8").splitlines()
    assert words == sorted(StubSentences.vocabulary)
    (tmp_path / "moved").mkdir()
    carried.rename(tmp_path / "moved" / "encoder")
    monkeypatch.setattr(phrase_book, "Sentences", NoSentences)
    loaded: Any = stored_encoder(tmp_path / "moved", json.loads(json.dumps(description)))
    assert loaded.fingerprint == encoder.fingerprint == description["encoder"]["fingerprint"]
    queries = [TextQuery(text) for text in ("hound", "no animals", "piano and cat")]
    assert torch.equal(loaded.encode(queries).pooled, encoder.encode(queries).pooled)
    # a component is off by half of 1/127 of the largest at most
    off = np.abs(loaded.likeness.embeddings - encoder.likeness.embeddings)
    assert 0 < off.max() < 1.5 / 254


def test_books_add_up(files: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(
        '[labels.dog]\nname = "Rex"\nphrases = ["rex"]\n'
        '[labels.kettle]\nname = "a kettle"\nphrases = ["kettle"]\n'
    )
    book = read_book([*files, str(tmp_path / "own.toml")])
    assert list(book.classes) == ["dog", "cat", "piano", "bow", "kettle"]
    assert book.classes["dog"].name == "Rex"
    assert book.classes["dog"].phrases == ("dog", "hound", "bark", "rex")
    assert book.families["animals"].members == ("dog", "cat")
    assert book.other == ("zipper", "velcro")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[labels", "not a phrase book"),
        ("", "one class or more"),
        ('[labels.dog]\nname = "a dog"', "'phrases' is missing"),
        ('[labels.dog]\nname = "a dog"\nphrases = "dog"', "no list of texts"),
        (f"{BOOK}{FAMILIES.replace('cat', 'horse')}", "'horse' is no class"),
    ],
)
def test_a_file_that_is_not_a_phrase_book_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "odd.toml").write_text(text)
    with pytest.raises(ValueError, match=rf"odd\.toml: .*{message}"):
        build(Config(phrases=str(tmp_path / "odd.toml")))


def test_a_missing_book_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nosuch\.toml: no such phrase book"):
        build(Config(phrases="nosuch"))
    with pytest.raises(ValueError, match=r"book\.json: missing"):
        build(Config(folder=str(tmp_path)))


def test_vectors_of_another_book_are_refused(encoder: PhraseBook, tmp_path: Path) -> None:
    encoder.carry(tmp_path)
    book = json.loads((tmp_path / "book.json").read_text())
    book["labels"]["cat"]["phrases"].append("tabby")
    (tmp_path / "book.json").write_text(json.dumps(book))
    with pytest.raises(ValueError, match=r"phrases\.safetensors: 17 embeddings for 18 phrases"):
        build(Config(folder=str(tmp_path))).read(TextQuery("dog"))


def test_a_classifier_of_other_entries_is_refused(encoder: PhraseBook, tmp_path: Path) -> None:
    encoder.carry(tmp_path)
    book = json.loads((tmp_path / "book.json").read_text())
    bow = book["labels"].pop("bow")  # its phrases stay, so that their number is the same
    book["labels"]["cat"]["phrases"] += [bow["name"], *bow["phrases"]]
    (tmp_path / "book.json").write_text(json.dumps(book))
    with pytest.raises(ValueError, match="17 phrases, a classifier of 6 entries for 5"):
        build(Config(folder=str(tmp_path))).read(TextQuery("dog"))


def test_closeness_is_the_cosine_above_the_median_of_every_eighth_phrase(
    encoder: PhraseBook,
) -> None:
    """Hand: phrases 0, 8 and 16 of the 17 are alike to each class as their words are."""
    assert encoder.book
    texts, _ = encoder.book.phrases()
    vectors = embed([texts[0], texts[8], texts[16]])
    phrases_of = {
        name: embed([entry.name, *entry.phrases]) for name, entry in encoder.book.classes.items()
    }
    wolf = embed(["wolf"])[0]
    expected = [
        float((phrases @ wolf).max() - np.median((vectors @ phrases.T).max(axis=1)))
        for phrases in phrases_of.values()
    ]
    (atom,) = encoder.read(TextQuery("wolf")).atoms.values()
    assert atom.closeness is not None
    np.testing.assert_allclose(atom.closeness, [*expected, 0], atol=1e-6)  # float32
    (known,) = encoder.read(TextQuery("dog")).atoms.values()
    assert known.closeness is None


# Two sounds, each vaguely of two classes: the dog and the cat share bins, so do the piano and the bow.
OVERLAPS = np.zeros((5, 5))
OVERLAPS[:2, :2] = [[0.5, 4.5], [4.5, 0.5]]
OVERLAPS[2:4, 2:4] = [[0.3, 2.7], [2.7, 0.3]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("wolf", [1, 1, 0, 0]),  # the sound that is like dogs
        ("dog", [1, 0, 0, 0]),
        ("everything but wolf", [0, 0, 1, 1]),
        ("wolf and piano", [1, 1, 1, 0]),
    ],
)
def test_words_for_no_class_query_all_classes_of_the_sound_that_they_resemble(
    encoder: PhraseBook, text: str, expected: list[int]
) -> None:
    heard = np.repeat([[20.0], [-20.0]], 521, axis=1)  # the first sound fits the wolf
    scene = Scene(OVERLAPS, class_groups(OVERLAPS), heard)
    actual = degrees_in(encoder.read(TextQuery(text)), scene)
    # 0.05: degrees are probabilities
    np.testing.assert_allclose(actual[:4], expected, atol=0.05)

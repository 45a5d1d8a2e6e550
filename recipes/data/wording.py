"""Phrase books: many phrases for each label, by which queries are trained and read."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from qsep.queries.reading.book import BOOKS_DIR

PHRASES_DIRS = (Path(__file__).parent / "phrases", BOOKS_DIR)

# Templates around a phrase. Each phrase is learned by itself and in one of them.
FRAMES = (
    "the sound of {}",
    "only {}",
    "isolate {}",
    "{}, nothing else",
    "please extract {} from this recording",
    "I want to hear {}",
    "{} in the background",
    "separate {} from the rest",
    "a recording of {}",
    "just {} please",
    "{} sound",
    "give me {} without the other sounds",
)
MAX_FRAMED_WORDS = 5  # longer phrases are not put into templates


@dataclass(frozen=True)
class PhraseBook:
    """labels: the classes of sound. names: a short description of each. phrases: by label.
    other: phrases for sounds outside the classes."""

    labels: tuple[str, ...]
    names: tuple[str, ...]
    phrases: dict[str, tuple[str, ...]]
    other: tuple[str, ...]

    def indexed_phrases(self) -> tuple[list[str], list[int]]:
        """All phrases, and for each the index of its label, or len(labels) for those of `other`."""
        texts: list[str] = []
        indices: list[int] = []
        groups = [self.phrases[label] for label in self.labels] + [self.other]
        for index, group in enumerate(groups):
            texts += group
            indices += [index] * len(group)
        return texts, indices


def load_phrase_book(name_or_path: str, framed: bool = True) -> PhraseBook:
    """A phrase book of the package, by name, or a TOML file. framed: whether phrases are also put in FRAMES.

    Raises ValueError for a file that does not exist or is not a phrase book.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        paths = [folder / f"{name_or_path}.toml" for folder in PHRASES_DIRS]
        path = next(filter(Path.is_file, paths), paths[0])
    if not path.is_file():
        raise ValueError(f"{path}: no such phrase book")
    try:
        content = tomllib.loads(path.read_text("utf-8"))
        entries = content["labels"]
        all_phrases = with_frames if framed else tuple
        phrases = {label: all_phrases(entry["phrases"]) for label, entry in entries.items()}
        names = tuple(entry["name"] for entry in entries.values())
        other = all_phrases(content["other"]["phrases"])
    except KeyError as error:
        raise ValueError(f"{path}: not a phrase book: {error} is missing") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a phrase book: {error}") from error
    return PhraseBook(tuple(entries), names, phrases, other)


def book_of_labels(labels: tuple[str, ...]) -> PhraseBook:
    """A phrase book in which every label is its own name and only phrase."""
    return PhraseBook(labels, labels, {label: (label,) for label in labels}, ())


def with_frames(phrases: list[str]) -> tuple[str, ...]:
    """Each phrase by itself, and those of few words also in one of FRAMES."""
    framed = [
        FRAMES[index % len(FRAMES)].format(phrase)
        for index, phrase in enumerate(phrases)
        if len(phrase.split()) <= MAX_FRAMED_WORDS
    ]
    return tuple(dict.fromkeys([*phrases, *framed]))

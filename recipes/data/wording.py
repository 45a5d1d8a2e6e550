"""How people ask for sounds: a phrase book of many wordings for each label."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

PHRASES_DIR = Path(__file__).parent / "phrases"

# Ways to wrap a phrase. Each phrase is learned bare and once wrapped.
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


@dataclass(frozen=True)
class PhraseBook:
    """labels: the kinds of sound; names: one short description each; phrases: their wordings;
    other: wordings for sounds that are none of them."""

    labels: tuple[str, ...]
    names: tuple[str, ...]
    phrases: dict[str, tuple[str, ...]]
    other: tuple[str, ...]

    def concepts(self) -> tuple[list[str], list[int]]:
        """All wordings and the index of each one's label, len(labels) for the others."""
        texts: list[str] = []
        indices: list[int] = []
        groups = [self.phrases[label] for label in self.labels] + [self.other]
        for index, group in enumerate(groups):
            texts += group
            indices += [index] * len(group)
        return texts, indices


def load_phrase_book(name_or_path: str) -> PhraseBook:
    """A phrase book that the package ships, by name, or a TOML file of the same form."""
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = PHRASES_DIR / f"{name_or_path}.toml"
    if not path.is_file():
        raise ValueError(f"{path}: no such phrase book")
    try:
        content = tomllib.loads(path.read_text("utf-8"))
        entries = content["labels"]
        phrases = {label: with_frames(entry["phrases"]) for label, entry in entries.items()}
        names = tuple(entry["name"] for entry in entries.values())
        other = with_frames(content["other"]["phrases"])
    except KeyError as error:
        raise ValueError(f"{path}: not a phrase book: {error} is missing") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a phrase book: {error}") from error
    return PhraseBook(tuple(entries), names, phrases, other)


def book_of_labels(labels: tuple[str, ...]) -> PhraseBook:
    """Every label as its own name and only wording."""
    return PhraseBook(labels, labels, {label: (label,) for label in labels}, ())


def with_frames(phrases: list[str]) -> tuple[str, ...]:
    """Each phrase bare, and once in a frame; long phrases are sentences already and stay bare."""
    framed = [
        FRAMES[index % len(FRAMES)].format(phrase)
        for index, phrase in enumerate(phrases)
        if len(phrase.split()) <= 5
    ]
    return tuple(dict.fromkeys([*phrases, *framed]))

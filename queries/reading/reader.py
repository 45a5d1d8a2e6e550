"""Maps texts to classes by a phrase book: grammar, spelling correction, and classification of embeddings."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from ..interface import shortened
from .book import OTHER, Book
from .expression import (
    Atom,
    Complement,
    Difference,
    Everything,
    Expression,
    Union,
    atoms,
    spelled,
)
from .grammar import parse, tidy
from .likeness import Likeness, Vectors
from .reading import AtomReading, Familiarity, Reading
from .spelling import Speller, check_script

NONE_BELOW, ALL_ABOVE = 0.3, 0.7  # relative to the likeliest entry: degree 0 below, 1 above
# Cosines to the nearest phrase.
KNOWN_FROM = 0.60
NEAR_FROM = 0.50
BETTER_BY = 0.15  # gain required to accept a corrected spelling
WHOLE_BY = 0.1  # gain required to read a list as a single name
MAX_WORDS = 250  # about what the sentence encoder reads, 256 pieces of words
SHARED_BY = 0.05  # gain required to share the end of a list's last part


class Reader:
    """Maps texts to degrees over a book's classes.

    likeness: of the book's phrases, in the order of `Book.phrases`. embed: texts to unit vectors (b, d).
    is_word: whether a lower-case word belongs to the language. embeds: whether `embed` can do more than
    raise; otherwise phrases of the book alone are read, and misspelt ones.
    """

    def __init__(
        self,
        book: Book,
        likeness: Likeness,
        embed: Callable[[list[str]], Vectors],
        is_word: Callable[[str], bool],
        embeds: bool = True,
    ) -> None:
        self.book, self.likeness = book, likeness
        self.embed, self.embeds = embed, embeds
        texts, owners = book.phrases()
        self.labels = (*book.classes, OTHER)
        self.entry_labels = [*book.classes, *book.families, OTHER]
        self.entries = book.entries()
        rows = {label: row for row, label in enumerate(self.labels)}
        self.members = np.zeros((len(self.entries), len(self.labels)), np.float32)
        for number, (label, entry) in enumerate(zip(self.entry_labels, self.entries, strict=True)):
            for member in entry.members or (label,):
                self.members[number, rows[member]] = 1
        self.exact: dict[str, set[int]] = defaultdict(set)
        keys = [key(text) for text in texts]
        for phrase, owner in zip(keys, owners, strict=True):
            self.exact[phrase].add(owner)
        self.exact_row = {phrase: row for row, phrase in enumerate(keys)}
        self.speller = Speller(texts, is_word)

    def read(self, text: str) -> Reading:
        """The reading of a text. Raises ValueError if it is not in Latin script or has no words."""
        plain, notes = check_script(text), []
        if plain != text.strip():
            notes.append("characters that are not letters are ignored")
        if (num_words := len(plain.split())) > MAX_WORDS:
            notes.append(f"of its {num_words} words at most the first {MAX_WORDS} are read")
        read_atom = functools.cache(self.read_atom)

        def similarity(words: str) -> float:
            return read_atom(words).similarity if self.embeds or self.is_phrase(words) else 0.0

        expression = resolved(parse(plain, self.is_phrase), similarity)
        needed = smallest_similarity([expression], similarity) + BETTER_BY
        corrected, changes = self.speller.correct(plain) if needed <= 1 else (plain, {})
        if changes:
            other = resolved(parse(corrected, self.is_phrase), similarity)
            if smallest_similarity([other], similarity) >= needed:
                expression = other
                notes += [f"{before!r} is taken for {after!r}" for before, after in changes.items()]
        used = {words: read_atom(words) for words in atoms(expression)}
        notes += [note for atom in used.values() if (note := self.note_on(atom))]
        families = [
            label for atom in used.values() for label in atom.entries if label in self.book.families
        ]
        reading = Reading(
            text,
            spelled(expression, lambda name: used[name].name),
            (),
            tuple(dict.fromkeys(families)),
            isinstance(expression, Complement | Everything),
            min((atom.similarity for atom in used.values()), default=1.0),
            all(atom.known for atom in used.values()),
            tuple(notes),
            expression,
            used,
            self.labels,
        )
        degrees = reading.degrees()
        order = np.argsort(-degrees, kind="stable")
        classes = tuple(
            (self.labels[row], float(degrees[row])) for row in order if degrees[row] > 0
        )
        object.__setattr__(reading, "classes", classes)
        return reading

    def is_phrase(self, text: str) -> bool:
        """Whether the text is a phrase of the book, but for case, spaces, quotes and the article."""
        return key(text) in self.exact

    def read_atom(self, text: str) -> AtomReading:
        """The reading of words that name one sound."""
        if self.is_phrase(text):
            return self.by_phrase(text)
        return self.by_likeness(text, self.embed([text])[0])

    def by_phrase(self, text: str) -> AtomReading:
        """The reading of a phrase of the book: all entries that contain it."""
        owners = sorted(self.exact[key(text)])
        if len(owners) > 1:
            owners = [owner for owner in owners if self.entry_labels[owner] != OTHER]
        if self.entry_labels[owners[0]] == OTHER:
            return self.by_likeness(text, self.likeness.embeddings[self.exact_row[key(text)]])
        return self.atom(text, owners, self.members[owners].max(axis=0), 1.0, Familiarity.KNOWN)

    def by_likeness(self, text: str, vector: Vectors) -> AtomReading:
        """The reading of any words by their embedding, vector (d,) of unit norm."""
        odds, nearest = self.likeness.odds(vector)
        known, other = odds[:-1], odds[-1]
        relative = known / known.max()
        kept = np.clip((relative - NONE_BELOW) / (ALL_ABOVE - NONE_BELOW), 0, 1)
        degrees = (kept[:, None] * self.members[:-1]).max(axis=0)
        similarity = float(nearest[:-1].max())
        owners = [int(owner) for owner in np.argsort(-relative) if kept[owner] > 0]
        likely_known = known.sum() >= other
        if likely_known and similarity >= KNOWN_FROM:
            familiarity = Familiarity.KNOWN
        elif similarity >= (NEAR_FROM if likely_known else KNOWN_FROM):
            familiarity = Familiarity.NEAR
        else:
            familiarity = Familiarity.UNKNOWN
        closeness = None
        if familiarity is not Familiarity.KNOWN:
            closeness = nearest - self.likeness.typical
            closeness = np.append(closeness[: len(self.book.classes)], np.float32(0))
        return self.atom(text, owners, degrees, similarity, familiarity, closeness)

    def atom(
        self,
        text: str,
        owners: list[int],
        degrees: NDArray[np.float32],
        similarity: float,
        familiarity: Familiarity,
        closeness: NDArray[np.float32] | None = None,
    ) -> AtomReading:
        """An AtomReading from the indices of entries, likeliest first, and degrees (num_classes + 1,)."""
        if familiarity is Familiarity.UNKNOWN:
            degrees = self.members[-1]
        names = [self.entries[owner].name for owner in owners[:3]]
        name = (
            " or ".join(names) if familiarity is not Familiarity.UNKNOWN else f"{shortened(text)!r}"
        )
        labels = tuple(self.entry_labels[owner] for owner in owners)
        return AtomReading(text, degrees, labels, name, similarity, familiarity, closeness)

    def note_on(self, atom: AtomReading) -> str:
        """A note for the user on words that are not known; empty for known words."""
        text = shortened(atom.text)
        if atom.familiarity is Familiarity.NEAR:
            return f"{text!r} is not a sound that this model knows: the nearest is {atom.name}"
        if atom.familiarity is Familiarity.UNKNOWN:
            return (
                f"{text!r} is unlike every sound that this model knows: taken for the part of the "
                "recording that resembles it most"
            )
        return ""


def key(text: str) -> str:
    """The text in a form that is equal for phrases that differ in case, spaces, quotes or the article."""
    plain = tidy(text)
    first, _, rest = plain.partition(" ")
    return rest if rest and first in ("a", "an", "the", "some") else plain


def resolved(expression: Expression, similarity: Callable[[str], float]) -> Expression:
    """The expression with unions read as a single name, or with a shared end, where that is more similar.

    similarity: of words to the nearest phrase of the book.
    """
    match expression:
        case Union(parts, whole, shared):
            parts = tuple(resolved(part, similarity) for part in parts)
            best = smallest_similarity(parts, similarity)
            if best < 1 and shared and smallest_similarity(shared, similarity) >= best + SHARED_BY:
                parts, best = shared, smallest_similarity(shared, similarity)
            if best + WHOLE_BY <= 1 and whole and similarity(whole) >= best + WHOLE_BY:
                return Atom(whole)
            return Union(parts)
        case Complement(part):
            return Complement(resolved(part, similarity))
        case Difference(part, without):
            return Difference(resolved(part, similarity), resolved(without, similarity))
    return expression


def smallest_similarity(parts: Iterable[Expression], similarity: Callable[[str], float]) -> float:
    """The smallest similarity of all atoms; 1 if there are none."""
    return min((similarity(text) for part in parts for text in atoms(part)), default=1.0)

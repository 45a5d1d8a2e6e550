"""The reading of a text query: the classes that a model with a phrase book maps it to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from ..interface import shortened
from .expression import Degrees, Expression, evaluate

SHOWN_CLASSES = 4  # in one line


class Familiarity(Enum):
    """KNOWN: words for a class or family. NEAR: similar to a class or family, as a wolf to a dog.
    UNKNOWN: unlike all of them, or similar to phrases for "other"."""

    KNOWN = "known"
    NEAR = "near"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class AtomReading:
    """The reading of words for one sound.

    degrees: (num_classes + 1,) in [0, 1]. entries: labels of the classes and families that they are mapped
    to, likeliest first. name: of these, in words. similarity: cosine to the nearest phrase of a class or
    family. closeness: (num_classes + 1,), of words that are not known: how much more similar they are to each
    class than other phrases are, a difference of cosines; 0 for "other".
    """

    text: str
    degrees: Degrees = field(compare=False)  # follow from the rest
    entries: tuple[str, ...]
    name: str
    similarity: float
    familiarity: Familiarity
    closeness: Degrees | None = field(default=None, compare=False)

    @property
    def known(self) -> bool:
        """Whether the words are for a class or family."""
        return self.familiarity is Familiarity.KNOWN


@dataclass(frozen=True)
class Reading:
    """The reading of a text query.

    text: the query. understood: the same in the book's words. classes: (label, degree in (0, 1]) by
    decreasing degree, perhaps with "other". families: labels of the families that are named. complement:
    whether it means everything but something. similarity: cosine of the least similar part to its nearest
    phrase. known: whether every part is a class or family of the book. notes: for the user, on what was
    guessed, corrected or not understood.
    """

    text: str
    understood: str
    classes: tuple[tuple[str, float], ...]
    families: tuple[str, ...]
    complement: bool
    similarity: float
    known: bool
    notes: tuple[str, ...]
    expression: Expression = field(repr=False)
    atoms: dict[str, AtomReading] = field(repr=False)
    labels: tuple[str, ...] = field(repr=False)  # of the classes, "other" last

    def degrees(self, unknown: Callable[[AtomReading], Degrees] | None = None) -> Degrees:
        """Degrees (num_classes + 1,) in [0, 1], the last one for "other".

        unknown: degrees of words that are not known, instead of the nearest classes or "other".
        """

        def degrees_of(text: str) -> Degrees:
            atom = self.atoms[text]
            if unknown is not None and not atom.known:
                return unknown(atom)
            return atom.degrees

        return evaluate(self.expression, degrees_of, len(self.labels)).astype(np.float32)

    @property
    def unknown_words(self) -> list[str]:
        """The parts of the query that are unlike every class, in the user's words."""
        return [a.text for a in self.atoms.values() if a.familiarity is Familiarity.UNKNOWN]

    def plain(self) -> dict[str, Any]:
        """The reading as values for JSON."""
        return {
            "text": self.text,
            "understood": self.understood,
            "classes": {label: round(degree, 3) for label, degree in self.classes},
            "families": list(self.families),
            "complement": self.complement,
            "similarity": round(self.similarity, 3),
            "known": self.known,
            "notes": list(self.notes),
        }

    def line(self) -> str:
        """The reading in one line of text."""
        if self.complement:
            classes = f"{len(self.classes)} of {len(self.labels)} classes"
        else:
            shown = [
                label if degree > 0.995 else f"{label} {degree:.2f}"
                for label, degree in self.classes[:SHOWN_CLASSES]
            ]
            more = len(self.classes) - SHOWN_CLASSES
            classes = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
        notes = "".join(f"; {note}" for note in self.notes)
        return f"{shortened(self.text)!r} is read as {self.understood} ({classes or 'no class'}){notes}"

"""What a text query means to a model with a phrase book."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from .expression import Degrees, Expression, evaluate

SHOWN_CLASSES = 4  # in one line


class Familiarity(Enum):
    """KNOWN: words for a class or a family. NEAR: none of them, but like one, as a wolf is like a dog.
    UNKNOWN: unlike them all, or like what is none of them."""

    KNOWN = "known"
    NEAR = "near"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class AtomReading:
    """One sound's words, read. degrees: (num_classes + 1,); entries: labels of the classes and families
    they are read as, likeliest first; name: of the first, in words; similarity: cosine to the nearest
    phrase of a class or family; near: of the classes that they are read as, those that they are like."""

    text: str
    degrees: Degrees = field(compare=False)  # follow from the rest
    entries: tuple[str, ...]
    name: str
    similarity: float
    familiarity: Familiarity
    near: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """text: as it was asked. understood: the same in the model's own words. classes: (label, degree in
    (0, 1]) by falling degree, "other" among them; of "everything but" these are most. families: labels of
    those that are named. complement: whether all is asked for but something. similarity: of the least
    familiar part, cosine to the nearest phrase of the book. known: whether every part is read as a class or
    family that the model knows. notes: whatever was guessed, corrected or not understood."""

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
        """(num_classes + 1,). unknown: gives those of words that are not known, in place of the nearest
        classes or "other"."""

        def degrees_of(text: str) -> Degrees:
            atom = self.atoms[text]
            if unknown is not None and atom.familiarity is not Familiarity.KNOWN:
                return unknown(atom)
            return atom.degrees

        return evaluate(self.expression, degrees_of, len(self.labels)).astype(np.float32)

    def plain(self) -> dict[str, Any]:
        """As values for JSON."""
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
        """For people, in one line."""
        if self.complement:
            what = f"{len(self.classes)} of {len(self.labels)} classes"
        else:
            shown = [
                label if degree > 0.995 else f"{label} {degree:.2f}"
                for label, degree in self.classes[:SHOWN_CLASSES]
            ]
            more = len(self.classes) - SHOWN_CLASSES
            what = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
        notes = "".join(f"; {note}" for note in self.notes)
        return f"{self.text!r} is read as {self.understood} ({what or 'no class'}){notes}"

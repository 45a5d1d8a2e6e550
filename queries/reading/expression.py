"""Parsed queries: names of sounds, joined by "and", "without" and "everything but"."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Degrees = NDArray[np.float32]  # (num_classes + 1,) in [0, 1]; the last is that of "other"


@dataclass(frozen=True)
class Atom:
    """Words that name one sound or one family of sounds."""

    text: str


@dataclass(frozen=True)
class Everything:
    """All sounds of the recording."""


@dataclass(frozen=True)
class Union:
    """Several sounds as one target.

    whole: the original text, which may be a single name, as "bow and arrow". shared: the parts with the end
    of the last one appended, as "acoustic guitar" and "electric guitar" for "acoustic and electric guitar";
    empty if there is none.
    """

    parts: tuple[Expression, ...]
    whole: str = ""
    shared: tuple[Expression, ...] = ()


@dataclass(frozen=True)
class Complement:
    """Everything but a sound."""

    part: Expression


@dataclass(frozen=True)
class Difference:
    """One sound without another."""

    part: Expression
    without: Expression


Expression = Atom | Everything | Union | Complement | Difference


def evaluate(expression: Expression, degrees_of: Callable[[str], Degrees], size: int) -> Degrees:
    """Degrees (size,) in [0, 1] by fuzzy set operations (Zadeh 1965): maximum, minimum and 1 - degree.

    degrees_of: degrees (size,) of an atom's text.
    """
    match expression:
        case Atom(text):
            return degrees_of(text)
        case Everything():
            return np.ones(size, np.float32)
        case Union(parts):
            return np.max([evaluate(part, degrees_of, size) for part in parts], axis=0)
        case Complement(part):
            return 1 - evaluate(part, degrees_of, size)
        case Difference(part, without):
            rest = 1 - evaluate(without, degrees_of, size)
            return np.minimum(evaluate(part, degrees_of, size), rest)


def atoms(expression: Expression) -> Iterator[str]:
    """Texts of all atoms, from left to right."""
    match expression:
        case Atom(text):
            yield text
        case Union(parts):
            for part in parts:
                yield from atoms(part)
        case Complement(part):
            yield from atoms(part)
        case Difference(part, without):
            yield from atoms(part)
            yield from atoms(without)


def spelled(expression: Expression, name: Callable[[str], str]) -> str:
    """In words, as "everything but (a dog barking + a cat meowing)". name: of an atom's text."""
    match expression:
        case Atom(text):
            return name(text)
        case Everything():
            return "everything"
        case Union(parts):
            return " + ".join(spelled(part, name) for part in parts)
        case Complement(Everything()):
            return "nothing"
        case Complement(part):
            return f"everything but {bracketed(part, name)}"
        case Difference(part, without):
            return f"{bracketed(part, name)} without {bracketed(without, name)}"


def bracketed(expression: Expression, name: Callable[[str], str]) -> str:
    """As `spelled`, in brackets if it has several parts."""
    text = spelled(expression, name)
    return text if isinstance(expression, Atom | Everything) else f"({text})"

"""Phrase books: dozens of wordings for each sound class and for families of classes.

As TOML, to edit: [labels.CLASS] name = …, phrases = […]; [other] phrases = […] for sounds of no class; and in
the same file or another [families.NAME] name = …, members = [classes], phrases = […].
As a folder, in checkpoints: book.json, and phrases.safetensors with the phrases' embeddings.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BOOKS_DIR = Path(__file__).parent.parent / "phrase_books"
BOOK_FILE = "book.json"
OTHER = "other"


@dataclass(frozen=True)
class Entry:
    """A class, a family of classes, or "other". name: a short description. members: labels of a family's
    classes, else empty."""

    name: str
    phrases: tuple[str, ...]
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class Book:
    """classes: by label, in the order of a query's degrees. families: by label. other: wordings for sounds
    outside the classes. Raises ValueError without classes, and for families of unknown classes."""

    classes: Mapping[str, Entry]
    families: Mapping[str, Entry]
    other: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.classes or OTHER in self.classes:
            raise ValueError(
                f"a phrase book needs one class or more, none of them called {OTHER!r}"
            )
        for label, family in self.families.items():
            unknown = sorted(set(family.members) - self.classes.keys())
            if unknown or not family.members:
                fault = f"{unknown[0]!r} is no class" if unknown else "no members"
                raise ValueError(f"family {label!r} of the phrase book: {fault}")

    def entries(self) -> list[Entry]:
        """All entries: the classes, then the families, then "other"."""
        return [*self.classes.values(), *self.families.values(), Entry(OTHER, self.other)]

    def phrases(self) -> tuple[list[str], list[int]]:
        """All phrases and names, without repetitions within an entry, and the index of each one's entry."""
        texts: list[str] = []
        owners: list[int] = []
        for number, entry in enumerate(self.entries()):
            distinct = dict.fromkeys(
                [entry.name, *entry.phrases] if entry.name != OTHER else entry.phrases
            )
            texts += distinct
            owners += [number] * len(distinct)
        return texts, owners

    def plain(self) -> dict[str, Any]:
        """The book as values for JSON, read by `book_from`."""
        tables = {"labels": self.classes, "families": self.families}
        plain: dict[str, Any] = {
            table: {
                label: {"name": entry.name, "phrases": entry.phrases, "members": entry.members}
                for label, entry in entries.items()
            }
            for table, entries in tables.items()
        }
        return plain | {OTHER: {"phrases": list(self.other)}}

    def digest(self) -> str:
        """Hash of the content, whatever file it was read from."""
        return hashlib.sha256(json.dumps(self.plain()).encode()).hexdigest()[:16]

    def only(self, classes: Sequence[str]) -> Book:
        """A book of these classes, in this order, and families of them; other phrases move to "other".

        Raises ValueError for a class that is not in the book.
        """
        if unknown := [label for label in classes if label not in self.classes]:
            raise ValueError(
                f"class {unknown[0]!r} is not in the phrase book: give it an entry there (qsep data "
                "folder writes phrases.toml), or leave it out"
            )
        families = {
            label: Entry(family.name, family.phrases, members)
            for label, family in self.families.items()
            if (members := tuple(member for member in family.members if member in classes))
        }
        rest = [self.classes[label] for label in self.classes if label not in classes]
        rest += [family for label, family in self.families.items() if label not in families]
        other = tuple(phrase for entry in rest for phrase in (entry.name, *entry.phrases))
        return Book({label: self.classes[label] for label in classes}, families, self.other + other)


def read_book(names: Sequence[str]) -> Book:
    """Read TOML files, or shipped books by name; phrases of the same class or family are joined.

    Raises ValueError for files that are missing or malformed.
    """
    tables: dict[str, Any] = {"labels": {}, "families": {}, OTHER: {"phrases": []}}
    for name in names:
        book = tables_of(read_toml(name), name)
        for table in ("labels", "families"):
            for label, entry in book[table].items():
                before = tables[table].setdefault(label, dict.fromkeys(entry, ()))
                tables[table][label] = {
                    "name": entry["name"],
                    "phrases": (*before["phrases"], *entry["phrases"]),
                    "members": tuple(dict.fromkeys((*before["members"], *entry["members"]))),
                }
        tables[OTHER]["phrases"] += book[OTHER]["phrases"]
    return book_from(tables, " + ".join(names))


def read_toml(name_or_path: str) -> dict[str, Any]:
    """The content of a TOML file, or of a shipped book by name; ValueError if it cannot be read."""
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = BOOKS_DIR / f"{name_or_path}.toml"
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError:
        shipped = ", ".join(sorted(file.stem for file in BOOKS_DIR.glob("*.toml")))
        raise ValueError(f"{path}: no such phrase book; shipped ones: {shipped}") from None
    except ValueError as error:
        raise ValueError(f"{path}: not a phrase book: {error}") from error


def book_from(content: Any, source: str) -> Book:
    """A book from plain values, as read from TOML or JSON. source: the file, for messages of ValueErrors."""
    tables = tables_of(content, source)
    classes, families = (
        {label: Entry(**entry) for label, entry in tables[table].items()}
        for table in ("labels", "families")
    )
    try:
        return Book(classes, families, tuple(tables[OTHER]["phrases"]))
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def tables_of(content: Any, source: str) -> dict[str, Any]:
    """The tables with all keys present and of the right type; ValueError otherwise."""
    try:
        tables: dict[str, Any] = {
            table: {
                label: {
                    "name": str(entry["name"]),
                    "phrases": as_texts(entry["phrases"]),
                    "members": as_texts(entry["members"]) if table == "families" else (),
                }
                for label, entry in content.get(table, {}).items()
            }
            for table in ("labels", "families")
        }
        return tables | {
            OTHER: {"phrases": list(as_texts(content.get(OTHER, {}).get("phrases", ())))}
        }
    except KeyError as error:
        raise ValueError(f"{source}: not a phrase book: {error} is missing") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{source}: not a phrase book: {error}") from error


def as_texts(values: Any) -> tuple[str, ...]:
    """A list of non-empty texts as a tuple; ValueError for anything else."""
    if not isinstance(values, list | tuple) or not all(
        isinstance(value, str) and value.strip() for value in values
    ):
        raise ValueError(f"{values!r} is no list of texts")
    return tuple(values)

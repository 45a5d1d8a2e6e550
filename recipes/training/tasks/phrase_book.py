"""The phrase book stored in a model: it comes from the recipe, not from checkpoints."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qsep.queries.interface import QueryEncoder, TextQuery
from qsep.queries.networks.phrase_classifier import PhraseClassifier

from ...data.wording import PhraseBook


def store_phrases(classifier: PhraseClassifier, book: PhraseBook, encoder: QueryEncoder) -> None:
    """Embed the book's phrases and store them in the model's classifier."""
    texts, classes = book.indexed_phrases()
    embeddings = encoder.encode([TextQuery(text) for text in texts]).pooled
    classifier.store(embeddings, torch.tensor(classes))


def restore(model: nn.Module, book: nn.Module | None, weights: dict[str, Tensor]) -> None:
    """Load weights strictly, except those of the phrase book, a module of the model, which keeps its own.

    The book may have more phrases than when the weights were saved. Raises RuntimeError for weights of
    another model.
    """
    book_state = {
        f"{name}.{key}": value
        for name, part in model.named_modules()
        if book is not None and part is book
        for key, value in part.state_dict().items()
    }
    model.load_state_dict(weights | book_state)

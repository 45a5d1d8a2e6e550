"""The phrase book inside a model: it comes from the recipe, whatever weights the model is given."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qsep.queries.interface import QueryEncoder, TextQuery
from qsep.separation.concepts import ConceptReader

from ...data.wording import PhraseBook


def teach(reader: ConceptReader, book: PhraseBook, encoder: QueryEncoder) -> None:
    texts, concepts = book.concepts()
    embeddings = encoder.encode([TextQuery(text) for text in texts]).pooled
    reader.learn(embeddings, torch.tensor(concepts))


def restore(model: nn.Module, book: nn.Module | None, weights: dict[str, Tensor]) -> None:
    """Load strictly, but for the phrase book, a part of the model, which may have grown since.

    Raises RuntimeError for weights of another model.
    """
    kept = {
        f"{name}.{key}": value
        for name, part in model.named_modules()
        if book is not None and part is book
        for key, value in part.state_dict().items()
    }
    model.load_state_dict(weights | kept)

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


def restore(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load strictly, but for the phrase book, which may have grown since; RuntimeError for other weights."""
    book = {key: value for key, value in model.state_dict().items() if "reader" in key.split(".")}
    model.load_state_dict(weights | book)

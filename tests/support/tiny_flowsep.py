"""A tiny FlowSep, its window, and queries for it."""

from typing import Any

import torch
from tiny import tiny_separator, unit_vectors
from tiny_settings import QUERY_DIM

from qsep.queries.interface import QueryEmbedding

WINDOW, CELL = 1024, 768  # samples, of the tiny one


def flowsep(**changes: Any) -> Any:
    return tiny_separator("flowsep", **changes)


def random_queries(batch: int = 1, num: int = 2) -> QueryEmbedding:
    return QueryEmbedding(unit_vectors(batch, num, QUERY_DIM, seed=9))


def worded(lengths: list[int], extra: int = 0) -> QueryEmbedding:
    """One mixture's queries of so many tokens, and `extra` tokens of garbage behind a False mask."""
    longest = max(lengths) + extra
    tokens = unit_vectors(1, len(lengths), 9, QUERY_DIM, seed=2)[:, :, :longest]
    mask = (torch.arange(longest) < torch.tensor(lengths)[:, None])[None]
    tokens = torch.where(mask[..., None], tokens, 99.0)
    return QueryEmbedding(torch.zeros(1, len(lengths), QUERY_DIM), tokens, mask)

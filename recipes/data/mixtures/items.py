"""Shared by all data sets of mixtures: collating items into a batch, and the order of clips in an epoch."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch

from qsep.queries.interface import Query
from qsep.separation.interface import MixtureBatch

# Sources (s, c, t), a query or None for each, and an id.
Item = tuple[torch.Tensor, list[Query | None], str]


def batch_of(items: Sequence[Item], sample_rate: int) -> MixtureBatch:
    """Items of one length as a batch, in which mixture = sources.sum(1) exactly. sample_rate: in Hz."""
    sources = torch.stack([item[0] for item in items])
    queries, ids = [item[1] for item in items], [item[2] for item in items]
    return MixtureBatch(sources.sum(dim=1), sources, queries, sample_rate, ids)


@functools.lru_cache(maxsize=2)
def epoch_order(num_clips: int, seed: int, epoch: int) -> np.ndarray:
    """A random permutation of 0 to num_clips - 1 for one epoch: (num_clips,)."""
    return np.random.default_rng((seed, epoch, 1)).permutation(num_clips)

"""Shared by all data sets of mixtures: items, mixed or not yet, and the order of clips in an epoch."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from qsep.queries.interface import Query
from qsep.separation.interface import MixtureBatch

from .augment import Filter

# Sources (s, c, t), a query or None for each, and an id.
Item = tuple[torch.Tensor, list[Query | None], str]


class Sound(NamedTuple):
    """A sound of a mixture. slot: of its source. waveform: (t,) float32. gain: after the filter and
    normalisation to a root mean square of 1."""

    slot: int
    waveform: np.ndarray
    filter: Filter
    gain: float


class Unmixed(NamedTuple):
    """An item whose sounds are not filtered and summed yet. gain: of the whole mixture."""

    sounds: list[Sound]
    gain: float
    queries: list[Query | None]
    id: str


def batch_of(items: Sequence[Item], sample_rate: int) -> MixtureBatch:
    """Items of one length as a batch, in which mixture = sources.sum(1) exactly. sample_rate: in Hz."""
    sources = torch.stack([item[0] for item in items])
    queries, ids = [item[1] for item in items], [item[2] for item in items]
    return MixtureBatch(sources.sum(dim=1), sources, queries, sample_rate, ids)


def marked_whole(batch: MixtureBatch, index: int) -> MixtureBatch:
    """The batch, in which the query at this index of each item is for the whole mixture."""
    whole = torch.zeros(batch.sources.shape[:2], dtype=torch.bool)
    whole[:, index] = True
    return dataclasses.replace(batch, whole=whole)


@functools.lru_cache(maxsize=2)
def epoch_order(num_clips: int, seed: int, epoch: int) -> np.ndarray:
    """A random permutation of 0 to num_clips - 1 for one epoch: (num_clips,)."""
    return np.random.default_rng((seed, epoch, 1)).permutation(num_clips)

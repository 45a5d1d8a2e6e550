"""Recovery from running out of memory: fewer queries and channels at once, shorter chunks, then the CPU."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from qsep.queries.interface import QueryEmbedding

from ..interface import Separator, as_module

log = logging.getLogger("qsep")

MAX_CHANNELS = 64  # of one network pass; recordings with more channels are separated in groups
MAX_TARGETS = 16  # of one network pass: queries times channels
EVERYTHING = slice(None)


@dataclass
class Limits:
    """Limits of one separator, found by running out of memory; None until then.

    rows: queries (and channels, for a single-channel separator) in one pass. step_samples: of a chunk.
    """

    rows: int | None = None
    step_samples: int | None = None


_limits: WeakKeyDictionary[Separator, Limits] = WeakKeyDictionary()


def limits_of(separator: Separator) -> Limits:
    """The separator's limits, kept with it, so that the next recording starts from them."""
    return _limits.setdefault(separator, Limits())


def use_less(separator: Separator, rows: int, step: int, min_step: int) -> bool:
    """After an out-of-memory error, lower the separator's limits or move it to the CPU, with a warning.

    rows, step: what was tried. min_step: in samples; shorter chunks would save nothing. Returns False if
    nothing is left to try.
    """
    limits, device = limits_of(separator), device_of(separator)
    if rows > 1:
        limits.rows = rows // 2
        warn_once(separator, f"fewer queries or channels at once on {device}")
    elif step > min_step:
        limits.step_samples = max(min_step, step // 2)
        warn_once(separator, f"shorter chunks on {device}")
    elif device.type != "cpu":
        as_module(separator).to("cpu")
        limits.rows = limits.step_samples = None
        warn_once(separator, "the rest is computed on the CPU, slower")
    else:
        return False
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return True


_remedies: WeakKeyDictionary[Separator, set[str]] = WeakKeyDictionary()


def warn_once(separator: Separator, remedy: str) -> None:
    """Log a warning the first time that a remedy is applied to this separator."""
    remedies = _remedies.setdefault(separator, set())
    if remedy not in remedies:
        remedies.add(remedy)
        log.warning("out of memory: %s", remedy)


def device_of(separator: Separator) -> torch.device:
    """The device of the separator's weights; the CPU if it has none."""
    weights = as_module(separator).parameters()
    return next((tensor.device for tensor in weights), torch.device("cpu"))


def at_once(separator: Separator, num_queries: int, num_channels: int) -> tuple[int, int]:
    """How many queries and how many channels are separated in one pass of the network."""
    limit = limits_of(separator).rows
    channels = num_channels
    if separator.num_channels in (None, 1):
        channels = min(channels, MAX_CHANNELS)
    if limit and separator.num_channels == 1:
        channels = min(channels, limit)
    queries = limit or max(1, MAX_TARGETS // channels)
    return min(num_queries, queries), channels


def in_groups(
    separator: Separator, mixture: Tensor, queries: QueryEmbedding, kept: slice = EVERYTHING
) -> Tensor:
    """mixture (c, t), queries (s, ...) to targets (s, c, t'), in groups that respect the limits.

    kept: the part of the samples that is returned. A single-channel separator is applied to each channel; one
    of any number of channels takes up to MAX_CHANNELS together, which share their masks. MAX_TARGETS, queries
    times channels, are separated at once, or fewer where memory ran out.
    Raises ValueError if the separator takes another number of channels.
    """
    num_queries, num_channels = len(queries.pooled), len(mixture)
    if separator.num_channels not in (None, 1, num_channels):
        raise ValueError(
            f"the recording has {num_channels} channels, this model takes {separator.num_channels}"
        )
    max_queries, max_channels = at_once(separator, num_queries, num_channels)
    queries = queries.to(mixture.device)
    if num_channels <= max_channels and num_queries <= max_queries:
        return separate_channels(separator, mixture, queries)[..., kept]  # no copy
    num_samples = len(range(*kept.indices(mixture.shape[-1])))
    targets = mixture.new_empty(num_queries, num_channels, num_samples)
    for chosen in groups(num_queries, max_queries):
        group = queries.map(itemgetter(chosen))
        for part in groups(num_channels, max_channels):
            group_targets = separate_channels(separator, mixture[part], group)
            targets[chosen, part] = group_targets[..., kept]
    return targets


def groups(num: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` that cover range(num)."""
    return (slice(first, min(first + size, num)) for first in range(0, num, size))


def separate_channels(separator: Separator, mixture: Tensor, queries: QueryEmbedding) -> Tensor:
    """mixture (c, t), queries (s, ...) to targets (s, c, t) in one pass of the network."""
    num_channels = len(mixture)
    if separator.num_channels in (None, num_channels):
        batched = queries.map(lambda entry: entry[None])
        return separator.separate(mixture[None], batched).target[0]
    repeated = queries.map(lambda entry: entry.expand(num_channels, *entry.shape))
    return separator.separate(mixture[:, None], repeated).target[:, :, 0].transpose(0, 1)

"""What is separated at once, and less of it where memory runs out: fewer queries and channels, then shorter
chunks, then on the CPU."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from qsep.queries.interface import QueryEmbedding

from ..interface import Separator

log = logging.getLogger("qsep")

CHANNELS_AT_ONCE = 64  # of one network pass; a recording of more is separated in groups of so many
PHRASES = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")


@dataclass
class Limits:
    """Of one separator, as memory has shown them; None where it has not.

    rows: queries, and channels where each goes by itself, in one pass. step_samples: that a chunk is long.
    """

    rows: int | None = None
    step_samples: int | None = None


_limits: WeakKeyDictionary[Separator, Limits] = WeakKeyDictionary()


def limits_of(separator: Separator) -> Limits:
    """Kept as long as the separator is, so that the next recording begins with what was learned."""
    return _limits.setdefault(separator, Limits())


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out: a GPU's, or the machine's."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in PHRASES)


def use_less(separator: Separator, rows: int, step: int, least_step: int) -> bool:
    """After an out-of-memory error: lower the separator's limits, or move it to the CPU; says so.

    rows, step: what was tried. least_step: under which shorter chunks would save nothing. Returns False
    where nothing is left to try.
    """
    limits, device = limits_of(separator), device_of(separator)
    if rows > 1:
        limits.rows = rows // 2
        say_once(separator, f"fewer queries or channels at once on {device}")
    elif step > least_step:
        limits.step_samples = max(least_step, step // 2)
        say_once(separator, f"shorter chunks on {device}")
    elif device.type != "cpu":
        separator.to("cpu")  # type: ignore[attr-defined]
        limits.rows = limits.step_samples = None
        say_once(separator, "what follows is computed on the CPU, slower")
    else:
        return False
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return True


_said: WeakKeyDictionary[Separator, set[str]] = WeakKeyDictionary()


def say_once(separator: Separator, remedy: str) -> None:
    """A warning, the first time that the remedy is taken for this separator."""
    said = _said.setdefault(separator, set())
    if remedy not in said:
        said.add(remedy)
        log.warning("out of memory: %s", remedy)


def device_of(separator: Separator) -> torch.device:
    """Where its weights lie."""
    device: torch.device = next(separator.parameters()).device  # type: ignore[attr-defined]
    return device


def in_groups(separator: Separator, mixture: Tensor, queries: QueryEmbedding) -> Tensor:
    """mixture (c, t), queries (s, ...) to targets (s, c, t), no more of them at once than the limits say.

    A separator of one channel takes each by itself; one of any number takes CHANNELS_AT_ONCE together, which
    then share their masks.
    """
    num_queries, num_channels = len(queries.pooled), len(mixture)
    if separator.num_channels not in (None, 1, num_channels):
        raise ValueError(
            f"the recording has {num_channels} channels, this model takes {separator.num_channels}"
        )
    rows = limits_of(separator).rows
    own = num_channels if separator.num_channels not in (None, 1) else CHANNELS_AT_ONCE
    together = min(own, rows) if rows and separator.num_channels == 1 else own
    queries = queries.to(mixture.device)
    if num_channels <= together and (rows is None or num_queries <= rows):
        return separate_channels(separator, mixture, queries)  # no copy
    found = mixture.new_empty(num_queries, *mixture.shape)
    for some in groups(num_queries, rows or num_queries):
        asked = queries.map(lambda entry, some=some: entry[some])  # type: ignore[misc]
        for part in groups(num_channels, together):
            found[some, part] = separate_channels(separator, mixture[part], asked)
    return found


def groups(num: int, at_once: int) -> Iterator[slice]:
    """Slices of at most so many that cover num."""
    return (slice(first, min(first + at_once, num)) for first in range(0, num, at_once))


def separate_channels(separator: Separator, mixture: Tensor, queries: QueryEmbedding) -> Tensor:
    """mixture (c, t) to targets (s, c, t) in one pass."""
    num_channels = len(mixture)
    if separator.num_channels in (None, num_channels):
        batched = queries.map(lambda entry: entry[None])
        return separator.separate(mixture[None], batched).target[0]
    repeated = queries.map(lambda entry: entry.expand(num_channels, *entry.shape))
    return separator.separate(mixture[:, None], repeated).target[:, :, 0].transpose(0, 1)

"""Separation of recordings of any sample rate and number of channels, block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qsep.queries.interface import QueryEmbedding

from ..interface import Core, Separator
from .aligned import AlignedStream, Pair, known_at, run
from .chunks import MANY_TARGETS, Activity, Chunks, Geometry, geometry
from .ratio_masks import RatioMasks


class TensorCore:
    """A `Core` of tensors as `aligned.Core`, of arrays."""

    def __init__(self, core: Core) -> None:
        self.core = core

    def push(self, block: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """See `aligned.Core`."""
        # A copy, because the array may be read-only or have negative strides.
        yield from map(as_array, self.core.push(torch.from_numpy(block.copy())))

    def finish(self) -> Iterator[NDArray[np.float32]]:
        """See `aligned.Core`."""
        yield from map(as_array, self.core.finish())


def as_array(targets: Tensor) -> NDArray[np.float32]:
    """The targets as an array."""
    array: NDArray[np.float32] = targets.cpu().numpy()
    return array


class RecordingStream:
    """Separates one recording for s queries: `push` its blocks, then `finish`; see `AlignedStream`.

    Causal separators carry their state from block to block and need no chunks.

    sample_rate: of the recording, in Hz. cut: by default `geometry`. rule, activity: see `Chunks`.
    num_known: the first samples whose targets may be anything, since they are known; chunks save their work.
    """

    def __init__(
        self,
        separator: Separator,
        sample_rate: int,
        num_channels: int,
        queries: QueryEmbedding,
        cut: Geometry | None = None,
        rule: RatioMasks | None = None,
        activity: Activity | None = None,
        num_known: int = 0,
    ) -> None:
        self.num_queries = len(queries.pooled) - (rule.num_negatives if rule else 0)
        num_known = known_at(separator.sample_rate, num_known, sample_rate)
        core = core_of(separator, num_channels, queries, cut, rule, activity, num_known)
        self._aligned = AlignedStream(
            *(TensorCore(core), sample_rate, separator.sample_rate),
            *(self.num_queries, num_channels),
        )
        self.latency_samples = self._aligned.latency_samples(core.latency_samples)

    def push(self, block: NDArray[np.floating]) -> Iterator[Pair]:
        """Take the next samples (c, t), not to be changed afterwards; yield the pairs that are ready."""
        return self._aligned.push(block)

    def finish(self) -> Iterator[Pair]:
        """End the recording; yield the remaining pairs. Output lengths sum to input lengths."""
        return self._aligned.finish()


def core_of(
    separator: Separator,
    num_channels: int,
    queries: QueryEmbedding,
    cut: Geometry | None,
    rule: RatioMasks | None,
    activity: Activity | None,
    num_known: int,
) -> Core:
    """`Separator.live` for causal separators without a rule, else Chunks.

    Arguments as of RecordingStream, but num_known is at the separator's rate.
    """
    if cut is None and rule is None and separator.capabilities.streaming:
        return separator.live(queries, num_channels)
    num_targets = len(queries.pooled) * num_channels
    if separator.capabilities.analyses:  # more targets are made part by part
        num_targets = min(num_targets, MANY_TARGETS)
    cut = cut or geometry(separator, rule=rule, num_targets=num_targets)
    return Chunks(separator, queries, cut, rule, activity, num_known)


def separate_stream(
    separator: Separator,
    blocks: Iterable[NDArray[np.floating]],
    sample_rate: int,
    queries: QueryEmbedding,
    cut: Geometry | None = None,
    rule: RatioMasks | None = None,
    activity: Activity | None = None,
    num_known: int = 0,
) -> Iterator[Pair]:
    """From blocks (c, t) of a recording to pairs of mixture and targets: see `RecordingStream`."""
    return run(
        blocks,
        lambda num_channels: RecordingStream(
            separator, sample_rate, num_channels, queries, cut, rule, activity, num_known
        ),
    )

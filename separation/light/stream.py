"""Separation of recordings of any length and rate in constant memory, with NumPy only.

Recordings are cut and crossfaded as by `inference.chunks` for PyTorch separators.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from ..inference.aligned import AlignedStream, Block, Pair, Targets, known_at, run
from .graph_separator import GraphSeparator

FULL_TARGETS = 4  # queries times channels; for more, parts are shorter to bound memory


def separate_blocks(
    separator: GraphSeparator,
    blocks: Iterable[Block],
    sample_rate: int,
    queries: NDArray[np.float32],
    num_known: int = 0,
) -> Iterator[Pair]:
    """From blocks (c, t) of a recording to aligned pairs of mixture (c, t') and targets (s, c, t').

    queries: (s, d). num_known: targets of so many first samples may be anything. Output lengths sum to input
    lengths, and the mixture's samples are returned unchanged.
    """
    known = known_at(separator.sample_rate, num_known, sample_rate)
    return run(
        blocks,
        lambda num_channels: AlignedStream(
            *(OverlapAdd(separator, queries, known), sample_rate, separator.sample_rate),
            *(len(queries), num_channels),
        ),
    )


class OverlapAdd:
    """From blocks (c, t) at the separator's rate to targets (s, c, t'), crossfaded where parts meet.

    num_known: targets of so many first samples may be anything; parts that give no others are zero.
    """

    def __init__(
        self, separator: GraphSeparator, queries: NDArray[np.float32], num_known: int = 0
    ) -> None:
        self.separator, self.queries, self.num_known = separator, queries, num_known
        self.stride = separator.stride_samples
        self.context = -(-separator.context_samples // self.stride) * self.stride
        self._stored: NDArray[np.float32] | None = None  # input from `_origin` on
        self._origin = self._start = 0
        self._tail: Targets | None = None

    def push(self, block: NDArray[np.float32]) -> Iterator[Targets]:
        """Take the next samples; yield the parts that are ready."""
        stored = block if self._stored is None else np.concatenate([self._stored, block], axis=-1)
        num_targets = len(self.queries) * len(block)
        step = shortened(self.separator.step_samples, num_targets, self.context, self.stride)
        seen_after = step + self.stride + self.context
        while self._origin + stored.shape[-1] - self._start >= seen_after:
            lead = self._start - self._origin
            if self._start + step + self.stride <= self.num_known:
                targets = np.zeros((len(self.queries), len(block), step + self.stride), np.float32)
            else:
                targets = self._part(stored[:, : lead + seen_after], lead)
            self._tail = targets[..., step : step + self.stride]
            yield targets[..., :step]
            self._start += step
            origin = max(0, self._start - self.context)
            stored, self._origin = stored[:, origin - self._origin :], origin
        self._stored = stored

    def finish(self) -> Iterator[Targets]:
        """Yield the last part."""
        stored = self._stored
        if stored is not None and self._origin + stored.shape[-1] > self._start:
            yield self._part(stored, self._start - self._origin)

    def _part(self, seen: NDArray[np.float32], lead: int) -> Targets:
        """Targets of `seen` after its lead samples, crossfaded with the tail of the previous part."""
        targets = self.separator.separate(seen, self.queries)[..., lead:]
        if self._tail is not None:
            overlap = min(self.stride, targets.shape[-1])
            rise = ((np.arange(overlap) + 0.5) / self.stride).astype(np.float32)
            faded = targets[..., :overlap] * rise + self._tail[..., :overlap] * (1 - rise)
            targets = np.concatenate([faded, targets[..., overlap:]], axis=-1)
        return targets


def shortened(step: int, num_targets: int, context: int, stride: int) -> int:
    """Samples per part: fewer for many targets, but at least a context, which is computed anyway."""
    wanted = step * min(1.0, FULL_TARGETS / num_targets)
    return max(1, round(max(wanted, min(step, context)) / stride)) * stride

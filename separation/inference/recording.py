"""Separation of recordings of any sample rate and number of channels, block by block."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qsep.queries.interface import QueryEmbedding

from ..audio.resample import StreamResampler, lateness
from ..interface import Separator
from .chunks import Activity, Chunks, Geometry, geometry
from .ratio_masks import RatioMasks

Pair = tuple[NDArray[np.floating], NDArray[np.float32]]


class Core(Protocol):
    """Separation at the model's sample rate: `Chunks`, or `live.LiveCore` for causal models."""

    @property
    def latency_samples(self) -> int:
        """Upper bound on the input samples whose targets have not been returned."""
        ...

    def push(self, block: Tensor) -> Iterable[Tensor]:
        """Take the next samples (c, t); return the targets that are ready, each (s, c, t')."""
        ...

    def finish(self) -> Iterable[Tensor]:
        """End the recording; return the remaining targets."""
        ...


class RecordingStream:
    """Separates one recording for s queries: `push` its blocks, then `finish`.

    Both yield aligned pairs of mixture (c, t') and targets (s, c, t'). The mixture's samples are returned
    unchanged, so that what resampling and precision lose stays in the residual, mixture - target.
    Causal separators carry their state from block to block and need no chunks.

    sample_rate: of the recording, in Hz. cut: by default `geometry`. rule, activity: see `Chunks`.
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
    ) -> None:
        self.num_queries = len(queries.pooled) - (rule.num_negatives if rule else 0)
        self.num_channels = num_channels
        self.core = core_of(separator, num_channels, queries, cut, rule, activity)
        model_rate = separator.sample_rate
        self._forward = StreamResampler(sample_rate, model_rate, num_channels)
        self._backward = StreamResampler(model_rate, sample_rate, self.num_queries * num_channels)
        self._mixtures: deque[NDArray[np.floating]] = deque()
        self._num_in = self._num_out = 0

    @property
    def latency_samples(self) -> int:
        """Upper bound, at the recording's rate, on the input samples whose targets have not been returned."""
        rate, model_rate = self._forward.input_rate, self._forward.output_rate
        late = self.core.latency_samples + lateness(model_rate, rate)
        return -(-late * rate // model_rate) + lateness(rate, model_rate)

    def push(self, block: NDArray[np.floating]) -> Iterator[Pair]:
        """Take the next samples (c, t), not to be changed afterwards; yield the pairs that are ready."""
        self._mixtures.append(block)
        self._num_in += block.shape[-1]
        # A copy, because the caller's array may be read-only or have negative strides.
        samples = torch.from_numpy(self._forward.process(block).copy())
        for target in self.core.push(samples):
            yield from self._returned(target)

    def finish(self) -> Iterator[Pair]:
        """End the recording; yield the remaining pairs. Output lengths sum to input lengths."""
        if not self._num_in:
            return
        for target in self.core.push(torch.from_numpy(self._forward.flush())):
            yield from self._returned(target)
        for target in self.core.finish():
            yield from self._returned(target)
        if self._num_out < self._num_in:
            yield self._paired(self._backward.flush(self._num_in))

    def _returned(self, target: Tensor) -> Iterator[Pair]:
        """Resample targets (s, c, t) to the recording's rate; yield what is ready."""
        flat = target.flatten(0, 1).cpu().numpy()
        # Resampled there and back, the end is a few samples too long; the last flush trims it.
        ready = self._backward.process(flat)[:, : self._num_in - self._num_out]
        if ready.size:  # soxr holds the first samples back until more arrive
            yield self._paired(ready)

    def _paired(self, flat: NDArray[np.float32]) -> Pair:
        targets = flat.reshape(self.num_queries, self.num_channels, -1)
        self._num_out += targets.shape[-1]
        return take(self._mixtures, targets.shape[-1]), targets


def core_of(
    separator: Separator,
    num_channels: int,
    queries: QueryEmbedding,
    cut: Geometry | None,
    rule: RatioMasks | None,
    activity: Activity | None,
) -> Core:
    """A LiveCore for causal separators without a rule, otherwise Chunks; arguments as of RecordingStream."""
    if cut is None and rule is None and separator.capabilities.streaming:
        from .live import LiveCore  # imported here, since it imports the causal networks

        return LiveCore(separator, queries, num_channels)  # type: ignore[arg-type]
    num_targets = len(queries.pooled) * num_channels
    cut = cut or geometry(separator, rule=rule, num_targets=num_targets)
    return Chunks(separator, queries, cut, rule, activity)


def separate_stream(
    separator: Separator,
    blocks: Iterable[NDArray[np.floating]],
    sample_rate: int,
    queries: QueryEmbedding,
    cut: Geometry | None = None,
    rule: RatioMasks | None = None,
    activity: Activity | None = None,
) -> Iterator[Pair]:
    """From blocks (c, t) of a recording to pairs of mixture and targets: see `RecordingStream`."""
    blocks = iter(blocks)
    opening = next(blocks, None)
    if opening is None:
        return
    num_channels = len(opening)
    stream = RecordingStream(separator, sample_rate, num_channels, queries, cut, rule, activity)
    for block in chain([opening], blocks):
        yield from stream.push(block)
    yield from stream.finish()


def take(parts: deque[NDArray[np.floating]], num_samples: int) -> NDArray[np.floating]:
    """Remove the first num_samples >= 1 from a queue of (..., t) arrays and return them as one array."""
    pieces = []
    while num_samples > 0:
        part = parts.popleft()
        if part.shape[-1] > num_samples:
            parts.appendleft(part[..., num_samples:])
            part = part[..., :num_samples]
        pieces.append(part)
        num_samples -= part.shape[-1]
    return np.concatenate(pieces, axis=-1)

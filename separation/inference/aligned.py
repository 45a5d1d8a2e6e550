"""A separator at its own sample rate, used on a recording of another: targets in step with the recording.

Without PyTorch, so that every runtime can use it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..audio.resample import StreamResampler, lateness

# Queries separated in one pass over a recording: each further one takes 0.1 GB more of sounds21. If a chunk
# is analysed once for all queries, open files are the limit: 100 with residuals.
MAX_QUERIES, MAX_ANALYSED = 2, 50

# After so many seconds, a resampler's output does not depend on what came before; measured: 0.78 at 1 kHz.
SETTLED_SECONDS = 2.0

Block = NDArray[np.floating]
Targets = NDArray[np.float32]
Pair = tuple[Block, Targets]


class Core(Protocol):
    """Separation at the model's sample rate."""

    def push(self, block: NDArray[np.float32]) -> Iterable[Targets]:
        """Take the next samples (c, t); return the targets that are ready, each (s, c, t')."""
        ...

    def finish(self) -> Iterable[Targets]:
        """End the recording; return the remaining targets."""
        ...


class AlignedStream:
    """Separates one recording for s queries: `push` its blocks, then `finish`.

    Both yield aligned pairs of mixture (c, t') and targets (s, c, t'). The mixture's samples are returned
    unchanged, so that what resampling and precision lose stays in the residual, mixture - target.
    """

    def __init__(
        self, core: Core, sample_rate: int, model_rate: int, num_queries: int, num_channels: int
    ) -> None:
        """Rates in Hz: the recording's and the model's."""
        self.core = core
        self.num_queries, self.num_channels = num_queries, num_channels
        self._forward = StreamResampler(sample_rate, model_rate, num_channels)
        self._backward = StreamResampler(model_rate, sample_rate, num_queries * num_channels)
        self._mixtures: deque[Block] = deque()
        self._num_in = self._num_out = 0

    def latency_samples(self, core_latency: int) -> int:
        """Upper bound, at the recording's rate, on the input samples whose targets have not been returned.

        core_latency: the same of the core, at the model's rate.
        """
        rate, model_rate = self._forward.input_rate, self._forward.output_rate
        late = core_latency + lateness(model_rate, rate)
        return -(-late * rate // model_rate) + lateness(rate, model_rate)

    def push(self, block: Block) -> Iterator[Pair]:
        """Take the next samples (c, t), not to be changed afterwards; yield the pairs that are ready."""
        self._mixtures.append(block)
        self._num_in += block.shape[-1]
        for targets in self.core.push(self._forward.process(block)):
            yield from self._returned(targets)

    def finish(self) -> Iterator[Pair]:
        """End the recording; yield the remaining pairs. Output lengths sum to input lengths."""
        if not self._num_in:
            return
        for targets in self.core.push(self._forward.flush()):
            yield from self._returned(targets)
        for targets in self.core.finish():
            yield from self._returned(targets)
        if self._num_out < self._num_in:
            yield self._paired(self._backward.flush(self._num_in))

    def _returned(self, targets: Targets) -> Iterator[Pair]:
        """Resample targets (s, c, t) to the recording's rate; yield what is ready."""
        flat = targets.reshape(self.num_queries * self.num_channels, -1)
        # Resampled there and back, the end is a few samples too long; the last flush trims it.
        ready = self._backward.process(flat)[:, : self._num_in - self._num_out]
        if ready.size:  # soxr holds the first samples back until more arrive
            yield self._paired(ready)

    def _paired(self, flat: NDArray[np.float32]) -> Pair:
        targets = flat.reshape(self.num_queries, self.num_channels, -1)
        self._num_out += targets.shape[-1]
        return take(self._mixtures, targets.shape[-1]), targets


def known_at(model_rate: int, num_known: int, sample_rate: int) -> int:
    """How many samples of the targets at the model's rate do not matter, if num_known at the recording's rate
    are known; rates in Hz."""
    return max(0, round((num_known / sample_rate - SETTLED_SECONDS) * model_rate))


class Opened(Protocol):
    """What `run` needs of a stream."""

    def push(self, block: Block) -> Iterator[Pair]:
        """See `AlignedStream`."""
        ...

    def finish(self) -> Iterator[Pair]:
        """See `AlignedStream`."""
        ...


def run(blocks: Iterable[Block], opened: Callable[[int], Opened]) -> Iterator[Pair]:
    """All pairs of a recording in blocks (c, t). opened: gives the stream for a number of channels."""
    blocks = iter(blocks)
    opening = next(blocks, None)
    if opening is None:
        return
    stream = opened(len(opening))
    for block in chain([opening], blocks):
        yield from stream.push(block)
    yield from stream.finish()


def take(parts: deque[Block], num_samples: int) -> Block:
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

"""Streaming: blocks of a recording in, blocks of targets out after a fixed latency. See `Model.stream`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qsep.queries.constraints import Constraints
from qsep.queries.interface import QueryEmbedding

from ..audio.arrays import as_channels
from ..interface import Separator
from .aligned import Pair, take
from .chunks import MIN_SECONDS, Geometry, geometry
from .constraints import has_spans, plan
from .ratio_masks import RatioMasks
from .recording import RecordingStream
from .time_spans import allowed, check_spans, gains


class Stream:
    """Separates one recording that arrives block by block: `push` its blocks, then `finish`.

    After n input samples exactly max(0, n - latency_samples) have been returned, and after `finish` all n;
    together they equal the targets of the whole recording. Memory does not grow with its length.
    """

    def __init__(
        self,
        separator: Separator,
        embedding: QueryEmbedding,
        sample_rate: int,
        num_channels: int,
        constraints: Constraints,
        chunk_seconds: float | None,
        one_query: bool,
    ) -> None:
        """embedding: (s + m, ...), of s queries and then m negatives. sample_rate: in Hz.
        chunk_seconds: see `chosen_cut`. one_query: return targets (c, t) instead of (1, c, t)."""
        planned = plan(separator, embedding, constraints)
        cut = chosen_cut(separator, planned.rule, chunk_seconds)
        self.sample_rate, self.num_channels = sample_rate, num_channels
        self._one_query, self._constraints = one_query, constraints
        self._spans = allowed(constraints) if has_spans(constraints) else None
        self._stream = RecordingStream(
            *(separator, sample_rate, num_channels, planned.embedding, cut),
            rule=planned.rule,
            activity=planned.activity,
        )
        self.latency_samples = self._stream.latency_samples
        self._ready: deque[NDArray[np.float32]] = deque()
        self._num_in = self._num_ready = self._num_out = 0
        self._finished = False
        # `finish` returns the type and rank of the last block.
        self._last: NDArray[np.floating] | Tensor = np.zeros((num_channels, 0), np.float32)

    @property
    def latency_seconds(self) -> float:
        """Delay of the targets behind the input."""
        return self.latency_samples / self.sample_rate

    def push(self, block: NDArray[np.floating] | Tensor) -> Any:
        """Take the next samples: (c, t), or (t,) for one channel, full scale at 1, t >= 0.

        Returns the next samples of the target, array or tensor like the block: (c, t') or (t',), or for a
        list of queries (s, c, t') or (s, t'). Raises ValueError for another number of channels, samples
        that are not floating-point, and NaN or infinite samples.
        """
        if self._finished:
            raise ValueError("this stream is finished: open another with model.stream(...)")
        self._last = block[..., :0]
        samples = block if block.shape[-1] == 0 else as_channels(block)
        if block.shape[-1]:
            if len(samples) != self.num_channels:
                raise ValueError(
                    f"the stream has {self.num_channels} channels, the block {len(samples)}"
                )
            self._num_in += samples.shape[-1]
            # A copy: callers reuse their blocks.
            self._take_in(self._stream.push(np.array(samples)))
        return self._next(max(0, self._num_in - self.latency_samples) - self._num_out, block)

    def finish(self) -> Any:
        """End the recording; return the remaining targets, in the type and rank of the last block.

        Raises ValueError for spans that lie outside the recording.
        """
        if not self._finished:
            self._finished = True
            self._take_in(self._stream.finish())
            if self._spans is not None:
                check_spans(self._constraints, self._num_in / self.sample_rate)
        return self._next(self._num_in - self._num_out, self._last)

    def _take_in(self, pairs: Iterable[Pair]) -> None:
        for _, targets in pairs:
            num = targets.shape[-1]
            if self._spans is not None:
                targets = targets * gains(self._spans, self._num_ready, num, self.sample_rate)
            self._num_ready += num
            self._ready.append(targets)

    def _next(self, num: int, block: NDArray[np.floating] | Tensor) -> Any:
        """The next `num` samples of the targets, in the type and rank of the block."""
        self._num_out += num
        shape = (self._stream.num_queries, self.num_channels, 0)
        targets = take(self._ready, num) if num else np.zeros(shape, np.float32)
        if block.ndim == 1:
            targets = targets[:, 0]
        return with_type_of(block, targets[0] if self._one_query else targets)


def with_type_of(block: NDArray[np.floating] | Tensor, targets: NDArray[np.float32]) -> Any:
    """The targets as a tensor or an array, with the block's precision and device."""
    if isinstance(block, Tensor):
        return torch.from_numpy(np.ascontiguousarray(targets)).to(block)
    return targets.astype(block.dtype)


def chosen_cut(
    separator: Separator, rule: RatioMasks | None, chunk_seconds: float | None
) -> Geometry | None:
    """How a stream is cut into chunks; None for causal separators, which need none.

    chunk_seconds: by default the separator's preferred length, else one context but at least MIN_SECONDS,
    which is shorter than for files, for low latency. Raises ValueError if the model allows no choice.
    """
    preferred = separator.capabilities.chunk_seconds
    if separator.capabilities.streaming and rule is None:
        if chunk_seconds is not None:
            raise ValueError("this model is causal and needs no chunks: leave chunk_seconds out")
        return None
    if preferred is not None and chunk_seconds not in (None, preferred):
        raise ValueError(f"this model works on {preferred:g} s at once: leave chunk_seconds out")
    if chunk_seconds is not None and not 0 < chunk_seconds < float("inf"):
        raise ValueError(f"chunk_seconds is {chunk_seconds:g}; expected more than 0")
    return geometry(separator, chunk_seconds or early_chunk_seconds(separator), rule)


def early_chunk_seconds(separator: Separator) -> float | None:
    """The chunk length for low latency: one context, at least MIN_SECONDS.

    None for causal separators, which need no chunks, and those that have a preferred length.
    """
    if separator.capabilities.streaming or separator.capabilities.chunk_seconds is not None:
        return None
    return max(MIN_SECONDS, separator.context_samples / separator.sample_rate)

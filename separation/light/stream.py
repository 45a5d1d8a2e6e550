"""Separation of recordings of any length and rate in constant memory, by arrays alone.

The same cuts and crossfades as `inference.chunks` makes for separators of PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from ..audio.resample import StreamResampler
from .graph_separator import GraphSeparator

FULL_TARGETS = 4  # queries times channels; of more, parts are shorter, for memory grows with both

Block = NDArray[np.floating]
Targets = NDArray[np.float32]


def separate_blocks(
    separator: GraphSeparator,
    blocks: Iterable[Block],
    sample_rate: int,
    queries: NDArray[np.float32],
) -> Iterator[tuple[Block, Targets]]:
    """Blocks (c, t) of a recording in, pairs of mixture (c, t') and targets (s, c, t') out, in step.

    queries: (s, d). The lengths out sum to the lengths in, and the mixture's samples come back untouched.
    """
    waiting: list[Block] = []  # blocks whose targets are not out yet
    num_in = num_out = 0
    forward: StreamResampler | None = None
    backward: StreamResampler | None = None

    def at_model_rate() -> Iterator[NDArray[np.float32]]:
        nonlocal forward, backward, num_in
        for block in blocks:
            if forward is None:
                rows = len(queries) * len(block)
                forward = StreamResampler(sample_rate, separator.sample_rate, len(block))
                backward = StreamResampler(separator.sample_rate, sample_rate, rows)
            waiting.append(block)
            num_in += block.shape[-1]
            yield forward.process(block)
        if forward is not None:
            yield forward.flush()

    def paired(flat: NDArray[np.float32]) -> tuple[Block, Targets]:
        nonlocal num_out
        targets = flat.reshape(len(queries), -1, flat.shape[-1])
        num_out += targets.shape[-1]
        stored = np.concatenate(waiting, axis=-1)
        waiting[:] = [stored[:, targets.shape[-1] :]]
        return stored[:, : targets.shape[-1]], targets

    for targets in overlap_add(separator, at_model_rate(), queries):
        assert backward is not None
        # Resampled there and back, the end is a few samples long; the last flush trims it.
        ready = backward.process(targets.reshape(-1, targets.shape[-1]))[:, : num_in - num_out]
        if ready.size:
            yield paired(ready)
    if backward is not None and num_out < num_in:
        yield paired(backward.flush(num_in))


def overlap_add(
    separator: GraphSeparator, blocks: Iterable[NDArray[np.float32]], queries: NDArray[np.float32]
) -> Iterator[Targets]:
    """Blocks (c, t) at the separator's rate in, targets (s, c, t') out, crossfaded where parts meet."""
    stride = separator.stride_samples
    context = -(-separator.context_samples // stride) * stride
    stored: NDArray[np.float32] | None = None  # input from `origin` on
    origin = start = 0
    tail: Targets | None = None

    def part(seen: NDArray[np.float32], lead: int) -> Targets:
        """Targets of what is seen after the lead, the tail of the part before faded in."""
        targets = separator.separate(seen, queries)[..., lead:]
        if tail is not None:
            overlap = min(stride, targets.shape[-1])
            rise = ((np.arange(overlap) + 0.5) / stride).astype(np.float32)
            faded = targets[..., :overlap] * rise + tail[..., :overlap] * (1 - rise)
            targets = np.concatenate([faded, targets[..., overlap:]], axis=-1)
        return targets

    for block in blocks:
        stored = block if stored is None else np.concatenate([stored, block], axis=-1)
        step = shortened(separator.step_samples, len(queries) * len(block), context, stride)
        while origin + stored.shape[-1] - start >= step + stride + context:
            lead = start - origin
            targets = part(stored[:, : lead + step + stride + context], lead)
            tail = targets[..., step : step + stride]
            yield targets[..., :step]
            start += step
            keep = max(0, start - context)
            stored, origin = stored[:, keep - origin :], keep
    if stored is not None and origin + stored.shape[-1] > start:
        yield part(stored, start - origin)


def shortened(step: int, num_targets: int, context: int, stride: int) -> int:
    """What a part gives, of so many targets; a context at least, for that much is computed anyway."""
    wanted = step * min(1.0, FULL_TARGETS / num_targets)
    return max(1, round(max(wanted, min(step, context)) / stride)) * stride

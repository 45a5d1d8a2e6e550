"""Separation of recordings of any length, rate and channel count in constant memory."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qsep.queries.interface import QueryEmbedding

from ..audio.resample import StreamResampler
from ..interface import Separator
from .progress import part
from .ratio_masks import RatioMasks

CHUNK_SECONDS, LEAST_SECONDS = 30.0, 2.0
FULL_TARGETS = 4  # of stereo two queries
BLOCK_SAMPLES = 1 << 17  # what is read at once


Activity = Callable[[int, int], Tensor]  # first sample and number of them, at the separator's rate


@dataclass(frozen=True)
class Geometry:
    """How a recording is cut, in samples at the separator's rate; all multiples of its stride.

    A chunk gives `step` new samples and `fade` more that are crossfaded into the next chunk; it sees
    `context` beyond these on both sides.
    """

    step: int
    context: int
    fade: int


def geometry(
    separator: Separator,
    chunk_seconds: float | None = None,
    rule: RatioMasks | None = None,
    num_targets: int = 1,
) -> Geometry:
    """chunk_seconds: by default what the separator says, or 30, or four contexts if that is more: what a
    chunk sees around it is seen twice. num_targets: queries times channels; of more than FULL_TARGETS
    chunks are shorter, for memory grows with both."""
    stride, context = separator.stride_samples, separator.context_samples
    if rule is not None:
        stride, context = math.lcm(stride, rule.hop_samples), context + 2 * rule.hop_samples
    if chunk_seconds is None:
        fitting = CHUNK_SECONDS * min(1.0, FULL_TARGETS / num_targets)
        num_contexts = 4 if num_targets <= FULL_TARGETS else 1
        enough = max(fitting, LEAST_SECONDS, num_contexts * context / separator.sample_rate)
        chunk_seconds = separator.capabilities.chunk_seconds or enough
    step = max(1, round(chunk_seconds * separator.sample_rate / stride)) * stride
    return Geometry(step, -(-context // stride) * stride, stride)


@torch.inference_mode()
def separate_chunks(
    separator: Separator,
    blocks: Iterable[Tensor],
    queries: QueryEmbedding,
    cut: Geometry,
    rule: RatioMasks | None = None,
    activity: Activity | None = None,
) -> Iterator[Tensor]:
    """Overlap-add: blocks (c, t) at the separator's rate in, targets (s, c, t') out.

    queries: (s, ...); with a rule as many as it takes. activity: where targets may sound, for
    separators that learned to be told. The lengths out sum to the lengths in. Where the separator's
    context is as it says, the result equals that of the whole recording at once. Within a chunk, what the
    separator says of its progress is heard in seconds.
    """
    waiting: list[Tensor] = []  # input from `origin` on
    origin = start = num_in = 0
    tail: Tensor | None = None

    def chunk(last: bool) -> Tensor:
        """The chunk from `start` on, all there is if it is the last, the tail of the one before faded in."""
        nonlocal waiting, origin, start, tail
        stored = torch.cat(waiting, dim=-1)
        seen = stored[:, max(0, start - cut.context) - origin :]
        lead = start - max(0, start - cut.context)
        if not last:
            seen = seen[:, : lead + cut.step + cut.fade + cut.context]
        asked = queries
        if activity is not None:
            track = activity(start - lead, seen.shape[-1]).expand(len(queries.pooled), -1)
            asked = replace(queries, activity=track)
        new = min(cut.step, seen.shape[-1] - lead)
        with part(start / separator.sample_rate, new / separator.sample_rate):
            target = separate_channels(separator, seen, asked)
        if rule is not None:
            target = rule(seen, target)
        target = target[..., lead:]
        if tail is not None:
            overlap = min(cut.fade, target.shape[-1])
            rise = (torch.arange(overlap, device=target.device) + 0.5) / cut.fade
            faded = target[..., :overlap] * rise + tail[..., :overlap] * (1 - rise)
            target = torch.cat([faded, target[..., overlap:]], dim=-1)
        if last:
            return target
        tail = target[..., cut.step : cut.step + cut.fade].clone()
        start += cut.step
        keep = max(0, start - cut.context)
        waiting, origin = [stored[:, keep - origin :].clone()], keep
        return target[..., : cut.step]

    for block in blocks:
        waiting.append(block)
        num_in += block.shape[-1]
        while num_in - start >= cut.step + cut.fade + cut.context:
            yield chunk(last=False)
    if num_in > start:
        yield chunk(last=True)


def separate_channels(separator: Separator, mixture: Tensor, queries: QueryEmbedding) -> Tensor:
    """mixture (c, t) to targets (s, c, t). A separator of one channel takes each by itself."""
    num_channels = len(mixture)
    if separator.num_channels in (None, num_channels):
        batched = queries.map(lambda entry: entry[None].to(mixture.device))
        return separator.separate(mixture[None], batched).target[0]
    if separator.num_channels != 1:
        raise ValueError(
            f"the recording has {num_channels} channels, this model takes {separator.num_channels}"
        )
    repeated = queries.map(
        lambda entry: entry.to(mixture.device).expand(num_channels, *entry.shape)
    )
    return separator.separate(mixture[:, None], repeated).target[:, :, 0].transpose(0, 1)


def separate_stream(
    separator: Separator,
    blocks: Iterable[NDArray[np.floating]],
    sample_rate: int,
    queries: QueryEmbedding,
    cut: Geometry | None = None,
    rule: RatioMasks | None = None,
    activity: Activity | None = None,
) -> Iterator[tuple[NDArray[np.floating], NDArray[np.float32]]]:
    """Blocks (c, t) at any rate in; pairs of mixture (c, t') and targets (s, c, t') out, in step.

    The mixture's samples come back untouched, so that whatever the model's band and precision lack
    stays in the residual, mixture - target. rule, activity: see `separate_chunks`.
    """
    blocks = iter(blocks)
    opening = next(blocks, None)
    if opening is None:
        return
    blocks = chain([opening], blocks)
    cut = cut or geometry(separator, rule=rule, num_targets=len(queries.pooled) * opening.shape[0])
    device = next(separator.parameters()).device  # type: ignore[attr-defined]
    num_queries = len(queries.pooled) - (rule.num_negatives if rule else 0)
    mixtures: deque[NDArray[np.floating]] = deque()
    forward: StreamResampler | None = None
    backward: StreamResampler | None = None
    num_channels = num_in = num_out = 0

    def at_model_rate() -> Iterator[Tensor]:
        nonlocal forward, backward, num_channels, num_in
        for block in blocks:
            if forward is None:
                num_channels = block.shape[0]
                folded = num_queries * num_channels
                forward = StreamResampler(sample_rate, separator.sample_rate, num_channels)
                backward = StreamResampler(separator.sample_rate, sample_rate, folded)
            mixtures.append(block)
            num_in += block.shape[-1]
            # A copy, because the caller's array may be read-only or run backwards.
            yield torch.from_numpy(forward.process(block).copy()).to(device)
        if forward is not None:
            yield torch.from_numpy(forward.flush()).to(device)

    def paired(targets: NDArray[np.float32]) -> tuple[NDArray[np.floating], NDArray[np.float32]]:
        nonlocal num_out
        targets = targets.reshape(num_queries, num_channels, -1)
        num_out += targets.shape[-1]
        return take(mixtures, targets.shape[-1]), targets

    for target in separate_chunks(separator, at_model_rate(), queries, cut, rule, activity):
        assert backward is not None
        flat = target.reshape(-1, target.shape[-1]).cpu().numpy()
        # Resampled there and back, the end is a few samples long; the last flush trims it.
        ready = backward.process(flat)[:, : num_in - num_out]
        if ready.size:  # soxr keeps the first few samples until more or the end comes
            yield paired(ready)
    if backward is not None and num_out < num_in:
        yield paired(backward.flush(num_in))


def take(parts: deque[NDArray[np.floating]], num_samples: int) -> NDArray[np.floating]:
    """Remove the first num_samples >= 1 from a queue of (c, t) arrays and return them as one."""
    taken = []
    while num_samples > 0:
        part = parts.popleft()
        if part.shape[-1] > num_samples:
            parts.appendleft(part[:, num_samples:])
            part = part[:, :num_samples]
        taken.append(part)
        num_samples -= part.shape[-1]
    return np.concatenate(taken, axis=-1)

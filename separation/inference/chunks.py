"""Separation of recordings of any length in constant memory: chunks that overlap."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from qsep.queries.interface import QueryEmbedding

from ..interface import Separator
from .memory import device_of, in_groups, is_out_of_memory, limits_of, use_less
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

    @property
    def latency(self) -> int:
        """A sample comes out at the latest when so many have come in after it."""
        return self.step + self.fade + self.context


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


class Chunks:
    """Overlap-add of one recording: `push` blocks (c, t) at the separator's rate, take targets (s, c, t').

    queries: (s, ...); with a rule as many as it takes. activity: where targets may sound, for separators
    that learned to be told. The lengths out sum to the lengths in. Where the separator's context is as it
    says, the result equals that of the whole recording at once. Within a chunk, what the separator says of
    its progress is heard in seconds. Where memory runs out, chunks become smaller: see `memory`.
    """

    def __init__(
        self,
        separator: Separator,
        queries: QueryEmbedding,
        cut: Geometry,
        rule: RatioMasks | None = None,
        activity: Activity | None = None,
    ) -> None:
        self.separator, self.queries, self.rule, self.activity = separator, queries, rule, activity
        self._wanted = cut
        self._waiting: list[Tensor] = []  # input from `origin` on
        self._origin = self._start = self._num_in = 0
        self._tail: Tensor | None = None

    @property
    def _unit(self) -> int:
        """What steps are multiples of; without a crossfade chunks have the length that they have."""
        return self._wanted.fade or self._wanted.step

    @property
    def cut(self) -> Geometry:
        """As asked for, or in shorter steps where memory ran out."""
        most = limits_of(self.separator).step_samples
        if most is None or most >= self._wanted.step:
            return self._wanted
        return replace(self._wanted, step=max(1, most // self._unit) * self._unit)

    @property
    def latency_samples(self) -> int:
        """See `Geometry.latency`."""
        return self._wanted.latency

    def push(self, block: Tensor) -> Iterator[Tensor]:
        """The targets that the recording's next samples make ready."""
        self._waiting.append(block)
        self._num_in += block.shape[-1]
        yield from self._ready(ended=False)

    def finish(self) -> Iterator[Tensor]:
        """The rest of the targets: no more comes in."""
        yield from self._ready(ended=True)

    def _ready(self, ended: bool) -> Iterator[Tensor]:
        while True:
            last = self._num_in - self._start < self.cut.latency
            if last and not (ended and self._num_in > self._start):
                return
            try:
                target = self._chunk(last)
            except Exception as error:
                if not is_out_of_memory(error) or not self._use_less():
                    raise
                continue
            yield target
            if last:
                return

    def _use_less(self) -> bool:
        """Whether there is something to try again with."""
        num_channels = len(self._waiting[0]) if self.separator.num_channels == 1 else 1
        tried = limits_of(self.separator).rows or max(len(self.queries.pooled), num_channels)
        least = max(1, self.cut.context // 2 // self._unit) * self._unit
        return use_less(self.separator, tried, self.cut.step, least)

    @torch.inference_mode()
    def _chunk(self, last: bool) -> Tensor:
        """The chunk from `start` on, all there is if it is the last, the tail of the one before faded in.

        Nothing has changed where this raises."""
        cut, start = self.cut, self._start
        device = device_of(self.separator)
        stored = torch.cat(self._waiting, dim=-1)
        seen = stored[:, max(0, start - cut.context) - self._origin :].to(device)
        lead = start - max(0, start - cut.context)
        if not last:
            seen = seen[:, : lead + cut.latency]
        asked = self.queries
        if self.activity is not None:
            track = self.activity(start - lead, seen.shape[-1]).expand(len(asked.pooled), -1)
            asked = replace(asked, activity=track)
        new = min(cut.step, seen.shape[-1] - lead)
        rate = self.separator.sample_rate
        with part(start / rate, new / rate):
            target = in_groups(self.separator, seen, asked)
        if self.rule is not None:
            target = self.rule(seen, target)
        target = target[..., lead:]
        if self._tail is not None:
            target = faded_in(target, self._tail.to(target.device), cut.fade)
        if last:
            self._start = self._num_in
            return target
        self._tail = target[..., cut.step : cut.step + cut.fade].clone()
        self._start += cut.step
        keep = max(0, self._start - cut.context)
        self._waiting, self._origin = [stored[:, keep - self._origin :].clone()], keep
        return target[..., : cut.step]


def faded_in(target: Tensor, tail: Tensor, fade: int) -> Tensor:
    """Targets (s, c, t) whose beginning is crossfaded with the tail of what came before, (s, c, fade)."""
    overlap = min(fade, target.shape[-1])
    rise = (torch.arange(overlap, device=target.device) + 0.5) / fade
    faded = target[..., :overlap] * rise + tail[..., :overlap] * (1 - rise)
    return torch.cat([faded, target[..., overlap:]], dim=-1)


def separate_chunks(
    separator: Separator,
    blocks: Iterable[Tensor],
    queries: QueryEmbedding,
    cut: Geometry,
    rule: RatioMasks | None = None,
    activity: Activity | None = None,
) -> Iterator[Tensor]:
    """Blocks (c, t) at the separator's rate in, targets (s, c, t') out: see `Chunks`."""
    chunks = Chunks(separator, queries, cut, rule, activity)
    for block in blocks:
        yield from chunks.push(block)
    yield from chunks.finish()

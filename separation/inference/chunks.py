"""Separation of recordings of any length in constant memory: chunks that overlap."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from qsep.queries.interface import QueryEmbedding

from ..audio.reader import BLOCK_SAMPLES as BLOCK_SAMPLES
from ..interface import Separator
from ..out_of_memory import is_out_of_memory
from .estimates import PART_VALUES, estimates
from .memory import at_once, device_of, limits_of, use_less
from .progress import part
from .ratio_masks import RatioMasks

CHUNK_SECONDS, MIN_SECONDS = 30.0, 2.0
FULL_TARGETS = 4  # queries times channels up to which chunks have their full length
MANY_TARGETS = 64  # above it chunks are shorter than their context
MAX_VALUES = 1 << 25  # targets times samples of a chunk: 128 MiB


# From the first sample and the number of samples, at the separator's rate, to activity (num_samples,).
Activity = Callable[[int, int], Tensor]


@dataclass(frozen=True)
class Geometry:
    """How a recording is cut into chunks, in samples at the separator's rate, all multiples of its stride.

    Each chunk yields `step` new samples and `fade` more that are crossfaded with the next chunk; its input
    extends `context` samples beyond these on both sides.
    """

    step: int
    context: int
    fade: int

    @property
    def latency(self) -> int:
        """Upper bound on the samples that come in after a sample before its target comes out."""
        return self.step + self.fade + self.context


def geometry(
    separator: Separator,
    chunk_seconds: float | None = None,
    rule: RatioMasks | None = None,
    num_targets: int = 1,
) -> Geometry:
    """The cut for a separator.

    chunk_seconds: by default the separator's preferred length, else CHUNK_SECONDS or four contexts if that
    is longer, since each chunk computes its context again. rule: ratio masks applied to each chunk.
    num_targets: queries times channels; above FULL_TARGETS chunks are shorter, since memory grows with both.
    """
    stride, context = separator.stride_samples, separator.context_samples
    if rule is not None:
        stride, context = math.lcm(stride, rule.hop_samples), context + 2 * rule.hop_samples
    if chunk_seconds is None:
        affordable = CHUNK_SECONDS * min(1.0, FULL_TARGETS / num_targets)
        num_contexts = 4.0 if num_targets <= FULL_TARGETS else 1.0
        if num_targets > MANY_TARGETS:
            num_contexts = 0.5
        default = max(affordable, MIN_SECONDS, num_contexts * context / separator.sample_rate)
        largest = MAX_VALUES / (num_targets * separator.sample_rate)
        chunk_seconds = separator.capabilities.chunk_seconds or min(default, largest)
    step = max(1, round(chunk_seconds * separator.sample_rate / stride)) * stride
    return Geometry(step, -(-context // stride) * stride, stride)


class Chunks:
    """Overlap-add of one recording: `push` blocks (c, t) at the separator's rate, get targets (s, c, t').

    queries: (s, ...), or (s + m, ...) for a rule with m negatives. activity: where targets may sound, for
    separators with the capability `spans`. num_known: targets of so many first samples may be anything;
    chunks that give no others are not separated. Output lengths sum to input lengths. If the separator's
    stated context is right, the result equals that of separating the whole recording at once.
    Progress that the separator reports within a chunk, 0 to 1, is passed on in seconds.
    If memory runs out, chunks become smaller: see `memory`.
    """

    def __init__(
        self,
        separator: Separator,
        queries: QueryEmbedding,
        cut: Geometry,
        rule: RatioMasks | None = None,
        activity: Activity | None = None,
        num_known: int = 0,
    ) -> None:
        self.separator, self.queries, self.rule, self.activity = separator, queries, rule, activity
        self._num_known = num_known
        self._full_cut = cut
        self._waiting: list[Tensor] = []  # input from `origin` on
        self._origin = self._start = self._num_in = 0
        self._tail: Tensor | None = None

    @property
    def _unit(self) -> int:
        """Steps are multiples of this; without a crossfade they cannot be shortened."""
        return self._full_cut.fade or self._full_cut.step

    @property
    def cut(self) -> Geometry:
        """The given cut, with shorter steps if memory has run out before."""
        max_step = limits_of(self.separator).step_samples
        if max_step is None or max_step >= self._full_cut.step:
            return self._full_cut
        return replace(self._full_cut, step=max(1, max_step // self._unit) * self._unit)

    @property
    def latency_samples(self) -> int:
        """See `Geometry.latency`."""
        return self._full_cut.latency

    def push(self, block: Tensor) -> Iterator[Tensor]:
        """Take the recording's next samples (c, t); yield the targets (s, c, t') that are ready."""
        self._waiting.append(block)
        self._num_in += block.shape[-1]
        yield from self._ready(ended=False)

    def finish(self) -> Iterator[Tensor]:
        """End the recording; yield the remaining targets."""
        yield from self._ready(ended=True)

    def _ready(self, ended: bool) -> Iterator[Tensor]:
        while True:
            last = self._num_in - self._start < self.cut.latency
            if last and not (ended and self._num_in > self._start):
                return
            try:
                yield from self._chunk(last)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if not self._use_less():
                    raise MemoryError(
                        "out of memory, in the smallest parts that there are"
                    ) from error
                continue
            if last:
                return

    def _use_less(self) -> bool:
        """Reduce what is separated at once; False if it cannot be reduced further."""
        size = len(self.queries.pooled), len(self._waiting[0])
        queries, channels = at_once(self.separator, *size)
        tried = max(queries, channels) if self.separator.num_channels == 1 else queries
        min_step = max(1, self.cut.context // 2 // self._unit) * self._unit
        return use_less(self.separator, tried, self.cut.step, min_step)

    @torch.inference_mode()
    def _chunk(self, last: bool) -> Iterator[Tensor]:
        """Separate the next chunk, up to the end if it is the last; yield its targets part by part.

        Its beginning is crossfaded with the previous chunk's tail. If this raises, the state is as after the
        last part that was yielded.
        """
        cut, start = self.cut, self._start
        stored = torch.cat(self._waiting, dim=-1)
        mixture = stored[:, max(0, start - cut.context) - self._origin :]
        mixture = mixture.to(device_of(self.separator))
        lead = start - max(0, start - cut.context)
        if not last:
            mixture = mixture[:, : lead + cut.latency]
        queries = self.queries
        if self.activity is not None:
            track = self.activity(start - lead, mixture.shape[-1]).expand(len(queries.pooled), -1)
            queries = replace(queries, activity=track)
        num_seen = mixture.shape[-1]
        fade, end = (0, num_seen) if last else (cut.fade, lead + cut.step)
        is_known = not last and start + cut.step + fade <= self._num_known
        # A rule looks a window further than what is given out; more of the targets is not kept.
        around = 2 * self.rule.hop_samples if self.rule is not None else 0
        kept = slice(max(0, lead - around), min(num_seen, end + fade + around))
        rate = self.separator.sample_rate
        with part(start / rate, min(cut.step, num_seen - lead) / rate):
            if is_known:
                targets_of = self._silence_of(mixture)
            else:
                targets_of = self._targets_of(mixture, queries, kept, around)
        size = PART_VALUES // (len(queries.pooled) * len(mixture)) // self._unit * self._unit
        for first in range(lead, end, max(self._unit, size)):
            stop = min(first + max(self._unit, size), end)
            tail = fade if stop == end else 0
            target = targets_of(slice(first, stop + tail))
            if self._tail is not None:
                target = faded_in(target, self._tail.to(target.device), cut.fade)
                self._tail = None
            self._start += stop - first
            if stop == end and not last:
                self._tail = target[..., stop - first :].clone()
                origin = max(0, self._start - cut.context)
                self._waiting = [stored[:, origin - self._origin :].clone()]
                self._origin = origin
            yield target[..., : stop - first]

    def _targets_of(
        self, mixture: Tensor, queries: QueryEmbedding, kept: slice, around: int
    ) -> Callable[[slice], Tensor]:
        """As `estimates`, but by the rule, which sees `around` more samples on both sides."""
        estimates_of = estimates(self.separator, mixture, queries, kept)
        if (rule := self.rule) is None:
            return estimates_of

        def targets_of(part: slice) -> Tensor:
            seen = slice(max(0, part.start - around), min(part.stop + around, mixture.shape[-1]))
            target = rule(mixture[:, seen], estimates_of(seen))
            return target[..., part.start - seen.start : part.stop - seen.start]

        return targets_of

    def _silence_of(self, mixture: Tensor) -> Callable[[slice], Tensor]:
        num_targets = len(self.queries.pooled) - (self.rule.num_negatives if self.rule else 0)
        return lambda part: mixture.new_zeros(num_targets, len(mixture), part.stop - part.start)


def faded_in(target: Tensor, tail: Tensor, fade: int) -> Tensor:
    """Targets (s, c, t) with their beginning crossfaded with the previous chunk's tail (s, c, fade)."""
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
    """From blocks (c, t) at the separator's rate to targets (s, c, t'): see `Chunks`."""
    chunks = Chunks(separator, queries, cut, rule, activity)
    for block in blocks:
        yield from chunks.push(block)
    yield from chunks.finish()

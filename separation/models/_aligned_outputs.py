"""Outputs in no fixed order, as of networks that separate speakers, joined in one order for a recording.

Segments of two steps start at every step. On the step that a segment shares with the one before, its
outputs are paired with that one's by their inner products, and crossfaded. After a pause of a step or more
nothing tells which output is which: the order may change there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from qsep.queries.interface import QueryEmbedding

from ..objectives.permutation_invariant import best_pairing

Run = Callable[[Tensor], Tensor]  # a segment (b, c, t) to its outputs (b, o, c, t)


class AlignedOutputs:
    """`push` blocks (b, c, t), then `finish`: both yield the next samples of the outputs, (b, o, c, t').

    The first segment decides the order. A recording of at most one segment is processed as it is, and the
    last segment of others is as long as what remains.
    """

    def __init__(self, run: Run, step: int) -> None:
        """step: samples of half a segment."""
        self.run, self.step = run, step
        self._waiting: list[Tensor] = []
        self._num_waiting = 0
        self._tail: Tensor | None = None  # the last segment's outputs for the shared step

    def push(self, block: Tensor) -> Iterator[Tensor]:
        """Take the next samples; yield the outputs that no later sample changes."""
        self._waiting.append(block)
        self._num_waiting += block.shape[-1]
        while self._num_waiting > 2 * self.step:
            stored = torch.cat(self._waiting, dim=-1)
            outputs = self._joined(stored[..., : 2 * self.step])
            self._tail = outputs[..., self.step :]
            self._waiting, self._num_waiting = (
                [stored[..., self.step :]],
                self._num_waiting - self.step,
            )
            yield outputs[..., : self.step]

    def finish(self) -> Iterator[Tensor]:
        """End the recording; yield the remaining outputs."""
        if self._num_waiting:
            yield self._joined(torch.cat(self._waiting, dim=-1))

    def _joined(self, segment: Tensor) -> Tensor:
        """The segment's outputs in the order of those before, crossfaded with their tail."""
        outputs, tail = self.run(segment), self._tail
        if tail is None:
            return outputs
        shared = outputs[..., : self.step]
        order = best_pairing(-torch.einsum("boct,bpct->bop", tail, shared))
        outputs = reordered(outputs, order)
        rise = (torch.arange(self.step, device=tail.device, dtype=tail.dtype) + 0.5) / self.step
        shared = tail + rise * (outputs[..., : self.step] - tail)
        return torch.cat([shared, outputs[..., self.step :]], dim=-1)


class LiveOutputs:
    """`interface.Core` of weighted sums of outputs. weights: of s targets, pooled (s, o). like: a tensor on
    the network's device, of its dtype."""

    def __init__(self, run: Run, step: int, weights: QueryEmbedding, like: Tensor) -> None:
        self.outputs, self.latency_samples = AlignedOutputs(run, step), 2 * step
        self.weights, self.like = weights.pooled.to(like), like

    @torch.inference_mode()
    def push(self, block: Tensor) -> Iterator[Tensor]:
        """See `interface.Core`."""
        for outputs in self.outputs.push(block.to(self.like)[None]):
            yield torch.einsum("so,oct->sct", self.weights, outputs[0])

    @torch.inference_mode()
    def finish(self) -> Iterator[Tensor]:
        """See `interface.Core`."""
        for outputs in self.outputs.finish():
            yield torch.einsum("so,oct->sct", self.weights, outputs[0])


def channels_in_one_order(outputs: Tensor) -> Tensor:
    """Outputs of channels that were processed one by one, (b, c, o, t), in the order of each item's loudest
    channel, with which they are paired by their inner products."""
    if outputs.shape[1] == 1:
        return outputs
    loudest = outputs.square().sum(dim=(2, 3)).argmax(dim=1)
    reference = outputs[torch.arange(len(outputs), device=outputs.device), loudest]
    products = torch.einsum("bot,bcpt->bcop", reference, outputs)
    order = best_pairing(-products.flatten(0, 1))
    return reordered(outputs.flatten(0, 1), order).unflatten(0, outputs.shape[:2])


def reordered(outputs: Tensor, order: Tensor) -> Tensor:
    """outputs (b, o, ...) with output order[b, k] as the k-th."""
    return outputs[torch.arange(len(outputs), device=outputs.device)[:, None], order]


def levelled(outputs: Tensor, mixture: Tensor) -> Tensor:
    """Outputs (b, o, t) times the one gain for all with which their sum is nearest to the mixture (b, t).

    Networks trained for scale-invariant losses leave their gain open; between the outputs it is as trained.
    """
    total = outputs.sum(dim=1)
    energy = total.square().sum(dim=-1).clamp_min(torch.finfo(total.dtype).tiny)
    gain = (mixture * total).sum(dim=-1) / energy
    return outputs * gain[:, None, None]

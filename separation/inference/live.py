"""Causal separators block by block, as sound arrives: the same samples as all at once, a window later.

What each stage needs of the past is carried exactly: samples of a window, the running level, the states of
the backbone, and the half frame that the next one overlaps. Nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from qsep.queries.interface import QueryEmbedding

from ..models.queried import LEVEL_FLOOR, OUTPUTS, Queried
from ..networks.composition import CausalBackbone, State
from ..signal.running_level import running_level
from ..signal.stft import num_frames, window


class LiveSeparator:
    """Targets of s queries in one recording that goes on: `push` blocks of any length, then `flush`.

    queries.pooled: (s, d). num_channels: of the recording. Targets come latency_samples after the input.
    """

    def __init__(self, separator: Queried, queries: QueryEmbedding, num_channels: int) -> None:
        if not separator.config.causal:
            raise ValueError("this model looks ahead; only a causal one separates live")
        if not separator.capabilities.streaming:
            raise ValueError("live separation needs an STFT and a backbone that goes step by step")
        if separator.num_channels not in (None, num_channels):
            raise ValueError(
                f"the recording has {num_channels} channels, this model takes {separator.num_channels}"
            )
        self.separator, self.num_channels = separator, num_channels
        self.backbone: CausalBackbone = separator.backbone  # type: ignore[assignment]
        self.num_queries = len(queries.pooled)
        self.items = num_channels if separator.num_channels is None else 1
        # Rows as `Queried.outputs` has them: each channel is an item, each query a row of it.
        self.queries = queries.map(lambda entry: entry.repeat(self.items, *[1] * (entry.dim() - 1)))
        weight = next(separator.parameters())
        self.window_samples = separator.analysis.latency_samples
        self.hop_samples = separator.analysis.hop_samples
        self.window = window(self.window_samples, weight.detach())
        # Half a window of silence lies before the first sample, as in `signal/stft.py`.
        self.waiting = weight.new_zeros(num_channels, self.window_samples // 2).detach()
        self.overlap = weight.new_zeros(
            self.items * self.num_queries * OUTPUTS, self.carried, self.hop_samples
        ).detach()
        self.level: tuple[Tensor, Tensor] | None = None
        self.state: State | None = None
        self.num_in = self.num_out = self.num_frames = 0

    @property
    def carried(self) -> int:
        return self.separator.config.num_channels

    @property
    def latency_samples(self) -> int:
        return self.window_samples

    @torch.inference_mode()
    def push(self, block: Tensor) -> Tensor:
        """block (c, t), the next samples, to the next samples of the targets, (s, c, t'), t' maybe 0."""
        if block.dim() != 2 or len(block) != self.num_channels:
            raise ValueError(f"expected ({self.num_channels}, t) samples, got {tuple(block.shape)}")
        self.num_in += block.shape[-1]
        self.waiting = torch.cat([self.waiting, block.to(self.waiting)], dim=-1)
        frames = (self.waiting.shape[-1] - self.window_samples) // self.hop_samples + 1
        return self.advance(max(0, frames))

    @torch.inference_mode()
    def flush(self) -> Tensor:
        """What is left of the targets once no more comes: all that was not given yet."""
        frames = num_frames(self.num_in, self.hop_samples) - self.num_frames if self.num_in else 0
        needed = (frames - 1) * self.hop_samples + self.window_samples if frames else 0
        missing = max(0, needed - self.waiting.shape[-1])
        self.waiting = torch.nn.functional.pad(self.waiting, (0, missing))
        return self.advance(frames)

    def advance(self, frames: int) -> Tensor:
        """Separate so many frames of what is waiting."""
        if frames == 0:
            return self.waiting.new_zeros(self.num_queries, self.num_channels, 0)
        used = frames * self.hop_samples
        waveform = self.waiting[:, : used + self.window_samples - self.hop_samples]
        spans = waveform.unfold(-1, self.window_samples, self.hop_samples)  # (c, n, w)
        spec = torch.fft.rfft(spans * self.window, dim=-1).transpose(-2, -1)
        carrier = spec.unflatten(0, (self.items, -1)) * self.window_samples**-0.5
        estimates = self.estimates(carrier)
        found = self.overlap_add(estimates * self.window_samples**0.5)
        mixture = self.waiting[:, :used].unflatten(0, (self.items, 1, 1, -1))
        first = self.num_frames == 0
        self.waiting = self.waiting[:, used:].clone()
        self.num_frames += frames
        if self.separator.config.consistent:
            missing = mixture - found.sum(dim=2, keepdim=True)
            found = found + missing / OUTPUTS
        # (items, s, c of an item, t) to (s, c, t)
        target = found[:, :, 0].transpose(0, 1).flatten(1, 2)
        if first:  # the half window of silence before the first sample
            target = target[..., self.hop_samples :]
        target = target[..., : self.num_in - self.num_out]
        self.num_out += target.shape[-1]
        return target

    def estimates(self, carrier: Tensor) -> Tensor:
        """Carriers of the outputs, (items, s, 2, c, f, n), as `Queried.outputs` has them."""
        separator = self.separator
        power = carrier.abs().square().mean(dim=(1, 2), keepdim=True)
        power, self.level = running_level(power, separator.decay, self.level)
        level = power.sqrt()
        scaled = carrier / (level.square() + LEVEL_FLOOR).sqrt()
        features = separator.analysis.features(scaled)
        if separator.entry.late:
            hidden, self.state = self.backbone.step(features, separator.injector(None), self.state)
            rows = self.queries.map(lambda entry: entry.unflatten(0, (self.items, -1)))
            hidden = separator.entry.fuse(hidden, rows).flatten(0, 1)
        else:
            hidden, self.state = self.backbone.step(
                features.repeat_interleave(self.num_queries, dim=0),
                separator.injector(self.queries),
                self.state,
            )
        return separator.estimates(separator.readout(hidden), scaled) * level[:, None, None]

    def overlap_add(self, spec: Tensor) -> Tensor:
        """(items, s, 2, c, f, n) to the samples that no later frame touches, (items, s, 2, c, n hop)."""
        shape = spec.shape[:3]
        frames = torch.fft.irfft(spec.flatten(0, 2).transpose(-2, -1), self.window_samples)
        halves = (frames * self.window).unflatten(-1, (2, self.hop_samples))
        before = torch.cat([self.overlap[:, :, None], halves[:, :, :-1, 1]], dim=2)
        self.overlap = halves[:, :, -1, 1].clone()
        return (before + halves[:, :, :, 0]).flatten(2).unflatten(0, shape)


class LiveCore:
    """A `LiveSeparator` as `recording.Core`."""

    def __init__(self, separator: Queried, queries: QueryEmbedding, num_channels: int) -> None:
        self.live = LiveSeparator(separator, queries, num_channels)
        self.latency_samples = self.live.latency_samples

    def push(self, block: Tensor) -> Iterator[Tensor]:
        """(c, t) to what is ready of the targets, (s, c, t')."""
        yield self.live.push(block)

    def finish(self) -> Iterator[Tensor]:
        """The rest."""
        yield self.live.flush()

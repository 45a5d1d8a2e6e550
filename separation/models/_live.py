"""Block-by-block inference of causal `queried` separators, with one STFT window of latency.

The result equals that of the whole recording at once: each stage keeps the state that it needs of the past
(samples of a window, the running level, the backbone's states, the overlap of the last frame), so nothing
is computed twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor

from qsep.queries.interface import QueryEmbedding

from ..networks.composition import CausalBackbone, State
from ..signal.running_level import running_level
from ..signal.stft import num_frames, window
from .queried import LEVEL_FLOOR, OUTPUTS, Queried


class LiveSeparator:
    """Separates one recording for s queries: `push` blocks of any length, then `flush`.

    queries.pooled: (s, d). num_channels: of the recording. Targets lag the input by latency_samples.
    Raises ValueError for separators that are not causal or take another number of channels.
    """

    def __init__(self, separator: Queried, queries: QueryEmbedding, num_channels: int) -> None:
        if not separator.config.causal:
            raise ValueError("this model looks ahead; only a causal one separates live")
        if not separator.capabilities.streaming:
            raise ValueError(
                "live separation needs an STFT and a backbone that works frame by frame"
            )
        if separator.num_channels not in (None, num_channels):
            raise ValueError(
                f"the recording has {num_channels} channels, this model takes {separator.num_channels}"
            )
        self.separator, self.num_channels = separator, num_channels
        self.backbone = cast(CausalBackbone, separator.backbone)
        self.num_queries = len(queries.pooled)
        self.items = num_channels if separator.num_channels is None else 1
        # Batch layout of `Queried.outputs`: each channel is an item, each query a row of it.
        self.queries = queries.map(lambda entry: entry.repeat(self.items, *[1] * (entry.dim() - 1)))
        weight = next(separator.parameters())
        self.window_samples = separator.analysis.latency_samples
        self.hop_samples = separator.analysis.hop_samples
        self.window = window(self.window_samples, weight.detach())
        # Half a window of silence precedes the first sample, as in `signal/stft.py`.
        self.waiting = weight.new_zeros(num_channels, self.window_samples // 2).detach()
        self.overlap = weight.new_zeros(
            self.items * self.num_queries * OUTPUTS, self.carried, self.hop_samples
        ).detach()
        self.level: tuple[Tensor, Tensor] | None = None
        self.state: State | None = None
        self.num_in = self.num_out = self.num_frames = 0

    @property
    def carried(self) -> int:
        """Channels of an item."""
        return self.separator.config.num_channels

    @property
    def latency_samples(self) -> int:
        """One STFT window, at the separator's rate."""
        return self.window_samples

    @torch.inference_mode()
    def push(self, block: Tensor) -> Tensor:
        """Take the next samples (c, t); return the next samples of the targets, (s, c, t'), t' >= 0.

        Raises ValueError for another number of channels.
        """
        if block.dim() != 2 or len(block) != self.num_channels:
            raise ValueError(f"expected ({self.num_channels}, t) samples, got {tuple(block.shape)}")
        self.num_in += block.shape[-1]
        self.waiting = torch.cat([self.waiting, block.to(self.waiting)], dim=-1)
        frames = (self.waiting.shape[-1] - self.window_samples) // self.hop_samples + 1
        return self.advance(max(0, frames))

    @torch.inference_mode()
    def flush(self) -> Tensor:
        """End the recording; return the remaining targets, (s, c, t')."""
        frames = num_frames(self.num_in, self.hop_samples) - self.num_frames if self.num_in else 0
        needed = (frames - 1) * self.hop_samples + self.window_samples if frames else 0
        missing = max(0, needed - self.waiting.shape[-1])
        self.waiting = torch.nn.functional.pad(self.waiting, (0, missing))
        return self.advance(frames)

    def advance(self, frames: int) -> Tensor:
        """Separate the next `frames` frames of the waiting input: (s, c, t')."""
        if frames == 0:
            return self.waiting.new_zeros(self.num_queries, self.num_channels, 0)
        used = frames * self.hop_samples
        waveform = self.waiting[:, : used + self.window_samples - self.hop_samples]
        spans = waveform.unfold(-1, self.window_samples, self.hop_samples)  # (c, n, w)
        spec = torch.fft.rfft(spans * self.window, dim=-1).transpose(-2, -1)
        carrier = spec.unflatten(0, (self.items, -1)) * self.window_samples**-0.5
        estimates = self.estimates(carrier)
        waveforms = self.overlap_add(estimates * self.window_samples**0.5)
        mixture = self.waiting[:, :used].unflatten(0, (self.items, 1, 1, -1))
        first = self.num_frames == 0
        self.waiting = self.waiting[:, used:].clone()
        self.num_frames += frames
        if self.separator.config.consistent:
            missing = mixture - waveforms.sum(dim=2, keepdim=True)
            waveforms = waveforms + missing / OUTPUTS
        # (items, s, c of an item, t) to (s, c, t)
        target = waveforms[:, :, 0].transpose(0, 1).flatten(1, 2)
        if first:  # the half window of silence before the first sample
            target = target[..., self.hop_samples :]
        target = target[..., : self.num_in - self.num_out]
        self.num_out += target.shape[-1]
        return target

    def estimates(self, carrier: Tensor) -> Tensor:
        """Mixture spectra (items, c, f, n) to those of outputs (items, s, 2, c, f, n); see `Queried`."""
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
        """Spectra (items, s, 2, c, f, n) to samples that no later frame changes, (items, s, 2, c, n hop)."""
        shape = spec.shape[:3]
        frames = torch.fft.irfft(spec.flatten(0, 2).transpose(-2, -1), self.window_samples)
        halves = (frames * self.window).unflatten(-1, (2, self.hop_samples))
        before = torch.cat([self.overlap[:, :, None], halves[:, :, :-1, 1]], dim=2)
        self.overlap = halves[:, :, -1, 1].clone()
        return (before + halves[:, :, :, 0]).flatten(2).unflatten(0, shape)


class LiveCore:
    """A `LiveSeparator` as `interface.Core`."""

    def __init__(self, separator: Queried, queries: QueryEmbedding, num_channels: int) -> None:
        self.live = LiveSeparator(separator, queries, num_channels)
        self.latency_samples = self.live.latency_samples

    def push(self, block: Tensor) -> Iterator[Tensor]:
        """As `Core.push`."""
        yield self.live.push(block)

    def finish(self) -> Iterator[Tensor]:
        """As `Core.finish`."""
        yield self.live.flush()

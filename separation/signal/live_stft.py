"""The STFT of a signal that arrives block by block, and its inverse, equal to those of `stft.py`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .stft import num_frames, window


class LiveStft:
    """Frames of half-overlapping windows as soon as their samples are there, and samples as soon as no later
    frame changes them: one window of latency.

    like: a floating-point tensor with the dtype and device to work in.
    """

    def __init__(self, num_channels: int, window_samples: int, like: Tensor) -> None:
        self.window_samples, self.hop_samples = window_samples, window_samples // 2
        self.window = window(window_samples, like.detach())
        # Half a window of silence precedes the first sample.
        self._waiting = self.window.new_zeros(num_channels, self.hop_samples)
        self._overlap: Tensor | None = None
        self._num_in = self._num_out = self._num_frames = 0

    def push(self, block: Tensor) -> Tensor:
        """The next samples (c, t) to the spectra of the frames that are complete, (c, f, n), n >= 0.

        Raises ValueError for another number of channels.
        """
        num_channels = len(self._waiting)
        if block.dim() != 2 or len(block) != num_channels:
            raise ValueError(f"expected ({num_channels}, t) samples, got {tuple(block.shape)}")
        self._num_in += block.shape[-1]
        self._waiting = torch.cat([self._waiting, block.to(self._waiting)], dim=-1)
        missing = self.window_samples - self.hop_samples
        return self._frames(max(0, self._waiting.shape[-1] - missing) // self.hop_samples)

    def finish(self) -> Tensor:
        """The spectra of the remaining frames, (c, f, n), with silence after the last sample."""
        num = num_frames(self._num_in, self.hop_samples) - self._num_frames if self._num_in else 0
        needed = (num - 1) * self.hop_samples + self.window_samples if num else 0
        self._waiting = F.pad(self._waiting, (0, max(0, needed - self._waiting.shape[-1])))
        return self._frames(num)

    def _frames(self, num: int) -> Tensor:
        used = num * self.hop_samples
        samples = self._waiting[:, : used + self.window_samples - self.hop_samples]
        self._waiting = self._waiting[:, used:].clone()
        self._num_frames += num
        if not num:
            shape = len(samples), self.window_samples // 2 + 1, 0, 2
            return torch.view_as_complex(samples.new_zeros(shape))
        spans = samples.unfold(-1, self.window_samples, self.hop_samples)  # (c, n, w)
        return torch.fft.rfft(spans * self.window, dim=-1).mT

    def samples(self, spec: Tensor) -> Tensor:
        """Spectra of the frames that follow those before, (..., f, n), to the samples (..., t) that follow.

        In all, as many samples as were pushed: those beyond the last are left out.
        """
        if not spec.shape[-1]:
            return spec.real.new_zeros(*spec.shape[:-2], 0)
        frames = torch.fft.irfft(spec.mT, self.window_samples) * self.window
        halves = frames.unflatten(-1, (2, self.hop_samples))  # (..., n, 2, hop)
        first = self._overlap is None  # then half a window of silence comes out first
        if self._overlap is None:
            self._overlap = torch.zeros_like(halves[..., :1, 1, :])
        before = torch.cat([self._overlap, halves[..., :-1, 1, :]], dim=-2)
        self._overlap = halves[..., -1:, 1, :].clone()
        samples = (before + halves[..., 0, :]).flatten(-2)
        if first:
            samples = samples[..., self.hop_samples :]
        samples = samples[..., : self._num_in - self._num_out]
        self._num_out += samples.shape[-1]
        return samples

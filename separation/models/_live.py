"""Block-by-block separation by networks that work on spectra frame by frame, with one STFT window of latency.

The result equals that of the whole recording at once: each stage keeps the state that it needs of the past
(samples of a window, the network's state, the overlap of the last frame), so nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..signal.live_stft import LiveStft

# Spectra of the next frames of a mixture, (c, f, n), to those of s targets, (s, c, f, n). Keeps its state.
Estimate = Callable[[Tensor], Tensor]


class LiveCore:
    """See `interface.Core`. num_targets: s of the estimate. like: a tensor of the network's dtype, on its
    device."""

    def __init__(
        self,
        estimate: Estimate,
        num_targets: int,
        num_channels: int,
        window_samples: int,
        like: Tensor,
    ) -> None:
        self.estimate, self.num_targets = estimate, num_targets
        self.stft = LiveStft(num_channels, window_samples, like)
        self.latency_samples = window_samples

    def push(self, block: Tensor) -> Iterator[Tensor]:
        """As `Core.push`; ValueError for another number of channels."""
        yield self._targets(self.stft.push(block))

    def finish(self) -> Iterator[Tensor]:
        """As `Core.finish`."""
        yield self._targets(self.stft.finish())

    @torch.inference_mode()
    def _targets(self, spec: Tensor) -> Tensor:
        """(c, f, n) to (s, c, t)."""
        if not spec.shape[-1]:
            return self.stft.samples(spec.expand(self.num_targets, *spec.shape))
        return self.stft.samples(self.estimate(spec))

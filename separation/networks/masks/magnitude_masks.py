"""Around a network that masks linear magnitudes, segment by segment: a spectrum in, waveforms out."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from qsep.queries.settings import configuration

from ...interface import Separated
from ...signal.segments import over_segments
from ...signal.stft import hann_istft, hann_stft

OVERLAP = 1 / 4  # of neighbouring segments


@configuration
class SegmentConfig:
    """sample_rate in Hz. segment_frames: what a network is trained on, and is given at use."""

    sample_rate: int = 16000
    window_samples: int = 1022
    hop_samples: int = 256
    segment_frames: int = 512


class MagnitudeMasks:
    """Front and back end; holds no weights. Hann windows, the ends mirrored, the mixture's phase.

    Channels share a mask, made from their root mean square: the stereo image stays. One channel is treated
    as published. What is shorter than a segment is followed by silence up to one.
    """

    def __init__(self, config: SegmentConfig) -> None:
        self.config = config
        self.segment_samples = config.segment_frames * config.hop_samples - 1
        self.step_frames = config.segment_frames - int(OVERLAP * config.segment_frames)
        self.stride_samples = self.step_frames * config.hop_samples
        # A sample lies under frames half a window away, each in a segment with frames that far away,
        # which see half a window more.
        reach_frames = config.segment_frames - 1
        self.context_samples = reach_frames * config.hop_samples + config.window_samples

    def spectrum(self, waveform: Tensor) -> Tensor:
        """(..., t) to (..., f, n), n = 1 + t // hop_samples."""
        missing = self.config.window_samples // 2 + 1 - waveform.shape[-1]
        padded = F.pad(waveform, (0, max(0, missing)))
        return hann_stft(padded, self.config.window_samples, self.config.hop_samples, "reflect")

    def waveform(self, spec: Tensor, num_samples: int) -> Tensor:
        """(..., f, n) to (..., t), t = num_samples."""
        return hann_istft(spec, self.config.window_samples, self.config.hop_samples, num_samples)

    def separate(
        self,
        mixture: Tensor,
        masks_of: Callable[[Tensor], Tensor],
        features: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Separated:
        """mixture: (b, c, t). masks_of: magnitudes (b, f, segment_frames) to masks (b, s, f, same); or what
        `features` makes of the mixture and its magnitudes (b, f, n), frame by frame, in their place."""
        config = self.config
        missing = max(0, self.segment_samples - mixture.shape[-1])
        padded = F.pad(mixture, (0, missing))
        spec = self.spectrum(padded)
        frames = rms_magnitude(spec)
        if features is not None:
            frames = features(padded, frames)
        mask = over_segments(frames, config.segment_frames, self.step_frames, masks_of)
        target = self.waveform(mask[:, :, None] * spec[:, None], mixture.shape[-1])
        return Separated(target, mixture[:, None] - target)


def rms_magnitude(spec: Tensor) -> Tensor:
    """Root mean square magnitude over channels: (..., c, f, n) to (..., f, n)."""
    return torch.linalg.vector_norm(spec.abs(), dim=-3) * spec.shape[-3] ** -0.5

"""Front and back end of networks that mask linear magnitudes in segments of fixed length.

    waveform (b, c, t) -> STFT (b, c, f, n) -> magnitude (b, f, n) -> network, segment by segment
    network -> masks (b, s, f, n) -> times the mixture's STFT -> waveforms (b, s, c, t)

Shared by `models/clapsep.py` and `models/bimodal.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from qsep.queries.settings import configuration

from ...interface import Separated
from ...signal.segments import over_segments, segment_geometry
from ...signal.spectra import rms_magnitude
from ...signal.stft import hann_istft, hann_stft, uncovered


@configuration
class SegmentConfig:
    """sample_rate in Hz. segment_frames: what a network is trained on, and sees at once when it is
    used."""

    sample_rate: int = 16000
    window_samples: int = 1022
    hop_samples: int = 256
    segment_frames: int = 512


class MagnitudeMasks:
    """Front and back end without weights: Hann windows, mirrored ends, the mixture's phase.

    All channels share one mask, computed from their root mean square, so the stereo image stays. With
    one channel this is the published system. Mixtures shorter than a segment are padded with zeros.
    """

    def __init__(self, config: SegmentConfig) -> None:
        self.config, self.sizes = config, (config.window_samples, config.hop_samples)
        self.geometry = segment_geometry(config.segment_frames, *self.sizes)

    def spectrum(self, waveform: Tensor) -> Tensor:
        """(..., t) to (..., f, n), n = 1 + t // hop_samples."""
        missing = self.config.window_samples // 2 + 1 - waveform.shape[-1]
        return hann_stft(F.pad(waveform, (0, max(0, missing))), *self.sizes, "reflect")

    def waveform(self, spec: Tensor, num_samples: int) -> Tensor:
        """(..., f, n) to (..., t), t = num_samples."""
        return hann_istft(spec, *self.sizes, num_samples)

    def num_covered(self, num_samples: int) -> int:
        """Up to which sample masked spectra of a waveform of num_samples give a waveform: see `uncovered`."""
        if uncovered(num_samples, *self.sizes):
            return num_samples - num_samples % self.config.hop_samples
        return num_samples

    def separate(
        self,
        mixture: Tensor,
        masks_of: Callable[[Tensor], Tensor],
        features: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Separated:
        """Separates a recording of any length in crossfaded segments; target + residual = mixture.

        mixture: (b, c, t). features: the padded mixture (b, c, t') and its magnitudes (b, f, n) to
        frames (b, e, n) for the network; the magnitudes themselves without it. masks_of: frames
        (b, e, segment_frames) to masks (b, s, f, segment_frames) in [0, 1].
        """
        config = self.config
        num_samples = max(self.geometry.segment_samples, mixture.shape[-1])
        num_samples += uncovered(num_samples, *self.sizes)
        padded = F.pad(mixture, (0, num_samples - mixture.shape[-1]))
        spec = self.spectrum(padded)
        frames = rms_magnitude(spec)
        if features is not None:
            frames = features(padded, frames)
        mask = over_segments(frames, config.segment_frames, self.geometry.step_frames, masks_of)
        target = self.waveform(mask[:, :, None] * spec[:, None], mixture.shape[-1])
        return Separated(target, mixture[:, None] - target)

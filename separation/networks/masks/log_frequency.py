"""Front and back end of the CLIPSep family: log-frequency spectrograms in, masks out.

    waveform (b, c, t) -> STFT (b, c, f, n) -> log magnitude in log-frequency rows (b, k, n) -> network
    network -> masks (b, s, k, n) -> linear bins (b, s, f, n) -> times the mixture's STFT -> (b, s, c, t)

Dong et al., "CLIPSep: Learning text-queried sound separation with noisy unlabeled videos" (2023),
section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.queries.settings import configuration

from ...interface import MixtureBatch, Separated, Separator
from ...signal.segments import over_segments, segment_geometry
from ...signal.spectra import rms_magnitude
from ...signal.stft import hann_istft, hann_stft, uncovered
from ...signal.warp import unwarp, warp

FLOOR = 1e-10  # added to magnitudes before the logarithm


@configuration
class SpectrogramConfig:
    """sample_rate in Hz; num_rows: log-frequency rows. segment_frames: what a network is trained on,
    and sees at once when it is used. hard_mask: round masks to 0 and 1 at use, as the authors' demo
    does and their evaluation does not."""

    sample_rate: int = 16000
    window_samples: int = 1024
    hop_samples: int = 256
    num_rows: int = 256
    segment_frames: int = 256
    hard_mask: bool = False


@dataclass(frozen=True)
class Magnitudes:
    """In log-frequency rows. mixture: (b, k, n), positive; sources: (b, s, k, n), non-negative."""

    mixture: Tensor
    sources: Tensor


class LogFrequency:
    """Front and back end of a mask network, without weights.

    All channels share one mask, computed from their root mean square: the stereo image stays, and
    sounds in opposite phase do not cancel. With one channel this is exactly the published system.
    """

    def __init__(self, config: SpectrogramConfig) -> None:
        self.config = config
        self.geometry = segment_geometry(
            config.segment_frames, config.window_samples, config.hop_samples
        )

    def spectrum(self, waveform: Tensor) -> Tensor:
        """(..., t) to the complex STFT (..., f, n)."""
        return hann_stft(waveform, self.config.window_samples, self.config.hop_samples)

    def rows(self, spec: Tensor) -> Tensor:
        """Spectra (..., c, f, n) to root mean square magnitudes over channels (..., k, n)."""
        return warp(rms_magnitude(spec), self.config.num_rows)

    @torch.no_grad()  # spectra of recordings have no weights to learn
    def magnitudes(self, batch: MixtureBatch) -> Magnitudes:
        """Log-frequency magnitudes of a training batch, without gradient."""
        mixture = self.rows(self.spectrum(batch.mixture)) + FLOOR
        return Magnitudes(mixture, self.rows(self.spectrum(batch.sources)))

    def separate(self, mixture: Tensor, masks_of: Callable[[Tensor], Tensor]) -> Separated:
        """Separates a recording of any length in crossfaded segments.

        mixture: (b, c, t). masks_of: log magnitudes (b, k, segment_frames) to masks
        (b, s, k, segment_frames) in [0, 1]. Returns (b, s, c, t) each. Every output of these networks
        depends on their whole input, so they are given segments of the length they were trained on;
        shorter mixtures are repeated to that length, as in training.
        """
        config = self.config
        repeated = repeat_to(mixture, self.geometry.segment_samples)
        sizes = config.window_samples, config.hop_samples
        spec = self.spectrum(F.pad(repeated, (0, uncovered(repeated.shape[-1], *sizes))))
        log_magnitude = (self.rows(spec) + FLOOR).log()
        mask = over_segments(
            log_magnitude, config.segment_frames, self.geometry.step_frames, masks_of
        )
        mask = unwarp(mask, spec.shape[-2])
        if config.hard_mask:
            mask = (mask > 0.5).to(mask)
        masked = mask[:, :, None] * spec[:, None]
        target = hann_istft(masked, *sizes, mixture.shape[-1])
        return Separated(target, mixture[:, None] - target)


class LogFrequencySeparator(nn.Module, Separator):
    """What separators with this front end have in common. Any number of channels: they share the mask.

    config: the separator's Config, which has a field `spectrogram`.
    """

    def __init__(self, config: Any, query_dim: int) -> None:
        super().__init__()
        self.config = config
        self.spectrogram = LogFrequency(config.spectrogram)
        self.sample_rate = config.spectrogram.sample_rate
        self.num_channels = None
        self.query_dim = query_dim
        self.stride_samples = self.spectrogram.geometry.stride_samples
        self.context_samples = self.spectrogram.geometry.context_samples

    def with_masks(self, hard: bool, noise: str) -> list[Self]:
        """See `Separator.with_masks`. ValueError unless noise is "off"."""
        if noise != "off":
            raise ValueError(f"noise={noise}: only CLIPSep-NIT has noise masks")
        return [self.reconfigured(self.hard_masks(hard), self.state_dict())]

    def hard_masks(self, hard: bool) -> Any:
        """The separator's configuration with hard masks on or off."""
        return replace(self.config, spectrogram=replace(self.config.spectrogram, hard_mask=hard))

    def reconfigured(self, config: Any, weights: Mapping[str, Tensor]) -> Self:
        """A separator with another configuration and these weights; itself if the configuration is the
        same."""
        if config == self.config:
            return self
        build: Any = type(self)  # subclasses take a config alone, unlike this class
        separator: Self = build(config)
        separator.load_state_dict(weights, strict=True)
        return separator.to(next(self.parameters()).device).train(self.training)


def repeat_to(waveform: Tensor, num_samples: int) -> Tensor:
    """(..., t) repeated to num_samples and cut there; unchanged if it is at least that long."""
    repeats = -(-num_samples // waveform.shape[-1])
    if repeats <= 1:
        return waveform
    return torch.cat([waveform] * repeats, dim=-1)[..., :num_samples]

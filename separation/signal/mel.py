"""Log-mel spectrograms of magnitudes, with Slaney's filters, as FlowSep and its vocoder use them."""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from qsep.queries.settings import configuration

FLOOR = 1e-5  # of mel magnitudes, before the logarithm
LINEAR_HZ, LINEAR_BANDS = 1000.0, 15.0  # Slaney's mel scale: linear up to here, logarithmic above
LOG_STEP = math.log(6.4) / 27


@configuration
class MelConfig:
    """sample_rate in Hz; num_bands: triangular filters between min_hz and max_hz."""

    sample_rate: int = 16000
    window_samples: int = 1024
    hop_samples: int = 160
    num_bands: int = 64
    min_hz: float = 0.0
    max_hz: float = 8000.0


def log_mel(waveform: Tensor, config: MelConfig) -> Tensor:
    """waveform (..., t), t > window_samples / 2, to natural logarithms (..., n, k), at least log 1e-5.

    n = 1 + t // hop_samples frames, centred on multiples of the hop, with mirrored ends.
    """
    flat = waveform.reshape(1, -1, waveform.shape[-1])
    half = config.window_samples // 2
    padded = F.pad(flat, (half, half), mode="reflect")[0]
    spec = torch.stft(
        padded,
        config.window_samples,
        config.hop_samples,
        window=torch.hann_window(
            config.window_samples, dtype=waveform.dtype, device=waveform.device
        ),
        center=False,
        return_complex=True,
    )
    filters = mel_filters(config).to(waveform)
    mel = spec.abs().transpose(-2, -1) @ filters.T
    return mel.clamp_min(FLOOR).log().reshape(*waveform.shape[:-1], *mel.shape[-2:])


@cache
@torch.inference_mode(False)  # the cached filters are used in training too
def mel_filters(config: MelConfig) -> Tensor:
    """Triangular filters (k, f), float32, of unit area over Hz, with corners equally spaced on Slaney's
    mel scale.

    Slaney, "Auditory toolbox" (1998), as in librosa. The tensor is cached: do not change it in place.
    """
    ends = torch.tensor([hz_to_mel(config.min_hz), hz_to_mel(config.max_hz)], dtype=torch.float64)
    corners = mel_to_hz(torch.linspace(ends[0], ends[1], config.num_bands + 2, dtype=torch.float64))
    left, centre, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    num_bins = config.window_samples // 2 + 1
    bins_hz = torch.linspace(0, config.sample_rate / 2, num_bins, dtype=torch.float64)
    rise, fall = (bins_hz - left) / (centre - left), (right - bins_hz) / (right - centre)
    return (torch.minimum(rise, fall).clamp_min(0) * 2 / (right - left)).float()


def hz_to_mel(hz: float) -> float:
    """Slaney's mel scale: linear up to 1 kHz, logarithmic above."""
    if hz < LINEAR_HZ:
        return hz * LINEAR_BANDS / LINEAR_HZ
    return LINEAR_BANDS + math.log(hz / LINEAR_HZ) / LOG_STEP


def mel_to_hz(mel: Tensor) -> Tensor:
    """Inverse of `hz_to_mel`, for tensors of any shape."""
    return torch.where(
        mel < LINEAR_BANDS,
        mel * LINEAR_HZ / LINEAR_BANDS,
        LINEAR_HZ * torch.exp(LOG_STEP * (mel - LINEAR_BANDS)),
    )

"""What callers hold (arrays or tensors, of one channel or several) and the (c, t) that is worked on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MAX_CHANNELS = 64  # ambisonics of order 7; more is audio with its samples first


def as_rate(sample_rate: float) -> int:
    if not (sample_rate >= 1 and sample_rate == sample_rate // 1):
        raise ValueError(f"expected a sample rate in whole Hz, such as 44100, got {sample_rate}")
    return int(sample_rate)


def as_array(audio: Any) -> NDArray[Any]:
    """A tensor from any device, of any type, or what NumPy takes for an array."""
    if not isinstance(audio, Tensor):
        return np.asarray(audio)
    audio = audio.detach().cpu()
    return (audio.float() if audio.dtype == torch.bfloat16 else audio).numpy()


def as_channels(audio: NDArray[np.floating] | Tensor) -> NDArray[np.floating]:
    """(t,) or (c, t), checked, as a (c, t) array of floats."""
    waveform = as_array(audio)
    if waveform.ndim not in (1, 2) or waveform.size == 0:
        raise ValueError(f"expected audio as (t,) or (c, t) with t >= 1, got {waveform.shape}")
    if not np.issubdtype(waveform.dtype, np.floating):
        raise ValueError(f"expected floating-point audio, full scale at 1, got {waveform.dtype}")
    if not np.isfinite(waveform).all():
        raise ValueError("the audio holds NaN or infinite samples; repair it first")
    channels = waveform.reshape(-1, waveform.shape[-1])
    if len(channels) > MAX_CHANNELS:
        raise ValueError(
            f"expected audio as (c, t) with c <= {MAX_CHANNELS}, got {waveform.shape}; "
            "transpose an array (t, c)"
        )
    return channels


def like(part: NDArray[np.floating], audio: object) -> Any:
    """(c, t) in the form that the caller gave: tensor or array, (t,) or (c, t), same precision."""
    if isinstance(audio, Tensor):
        return torch.from_numpy(np.ascontiguousarray(part)).to(audio).reshape(audio.shape)
    if isinstance(audio, np.ndarray):
        return part.astype(audio.dtype).reshape(audio.shape)
    return part


def energy(waveform: NDArray[np.floating]) -> float:
    """Sum of squares, in float64."""
    return float(np.square(waveform, dtype=np.float64).sum())


def level_db(part: float, whole: float) -> float:
    """10 log10 of an energy relative to another; -inf for silence."""
    return float(10 * np.log10(part / whole)) if part > 0 and whole > 0 else -float("inf")

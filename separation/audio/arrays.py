"""Conversion between callers' arrays or tensors, (t,) or (c, t), and the (c, t) arrays used inside."""

from __future__ import annotations

import numbers
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

MIN_SHARE = 1e-12  # of the sum of squares: less is rounding
MAX_CHANNELS = 64  # ambisonics of order 7; more means that the array is (t, c)


def is_tensor(audio: object) -> TypeGuard[Tensor]:
    """Whether it is a tensor of PyTorch, decided without importing PyTorch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(audio, torch.Tensor)


def as_rate(sample_rate: float) -> int:
    """A sample rate in Hz as int; ValueError unless it is a whole number of at least 1."""
    is_number = isinstance(sample_rate, numbers.Real)
    if not (is_number and sample_rate >= 1 and sample_rate == sample_rate // 1):
        raise ValueError(f"expected a sample rate in whole Hz, such as 44100, got {sample_rate!r}")
    return int(sample_rate)


def as_array(audio: Any) -> NDArray[Any]:
    """A NumPy array of a tensor on any device and of any type (bfloat16 becomes float32), or of an array."""
    if not is_tensor(audio):
        return np.asarray(audio)
    import torch

    audio = audio.detach().cpu()
    return (audio.float() if audio.dtype == torch.bfloat16 else audio).numpy()


def as_channels(audio: NDArray[np.floating] | Tensor) -> NDArray[np.floating]:
    """Audio (t,) or (c, t), t >= 1, as a (c, t) array of its own floating-point type.

    Raises ValueError for other shapes and types, more than MAX_CHANNELS, NaN and infinite samples.
    """
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
    """part (c, t) with the type, device, precision and shape of `audio`; as it is if that is a file."""
    if is_tensor(audio):
        import torch

        return torch.from_numpy(np.ascontiguousarray(part)).to(audio).reshape(audio.shape)
    if isinstance(audio, np.ndarray):
        return part.astype(audio.dtype).reshape(audio.shape)
    return part


class Energy:
    """The energy of a waveform that is added block by block, in float64, without each channel's mean.

    The mean is a recorder's DC offset, which is not heard; a constant has no energy.
    """

    def __init__(self) -> None:
        self._squares, self._num_samples = 0.0, 0
        self._sums: NDArray[np.float64] | float = 0.0

    def add(self, block: NDArray[np.floating]) -> Energy:
        """Add the next samples (c, t), and return this."""
        self._squares += float(np.square(block, dtype=np.float64).sum())
        self._sums = self._sums + block.sum(axis=-1, dtype=np.float64)
        self._num_samples += block.shape[-1]
        return self

    def state(self) -> list[Any]:
        """Plain values for JSON, from which `from_state` makes the same energy."""
        return [self._squares, self._num_samples, np.asarray(self._sums).tolist()]

    @classmethod
    def from_state(cls, state: Sequence[Any]) -> Energy:
        """See `state`."""
        energy = cls()
        energy._squares, energy._num_samples = state[0], state[1]
        energy._sums = np.asarray(state[2], np.float64)
        return energy

    @property
    def value(self) -> float:
        """So far; 0 for what is a constant but for rounding."""
        of_means = float(np.square(self._sums).sum()) / max(self._num_samples, 1)
        without = self._squares - of_means
        return without if without > MIN_SHARE * self._squares else 0.0


def level_db(part: float, whole: float) -> float:
    """Energy `part` relative to energy `whole`, in dB; -inf if either is zero."""
    return float(10 * np.log10(part / whole)) if part > 0 and whole > 0 else -float("inf")

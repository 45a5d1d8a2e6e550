"""Short-time Fourier transform with exact reconstruction at every length."""

import torch
import torch.nn.functional as F
from torch import Tensor


def window(window_samples: int, like: Tensor) -> Tensor:
    """Square root of a periodic Hann window, (window_samples,): used twice, its square overlap-adds to
    1 at half a window."""
    return torch.hann_window(window_samples, dtype=like.dtype, device=like.device).sqrt()


def num_frames(num_samples: int, hop_samples: int) -> int:
    """Number of frames of `stft`: ceil(num_samples / hop_samples) + 1."""
    return -(-num_samples // hop_samples) + 1


def stft(waveform: Tensor, window_samples: int, hop_samples: int) -> Tensor:
    """waveform (..., t), t >= 1, to the complex spectrum (..., f, n), f = window_samples // 2 + 1.

    Frames are centred on multiples of the hop, from the first sample to the last or just beyond it,
    with zeros around the waveform. At a hop of half a window every sample is covered by two frames, and
    the sum of |X|^2 over both halves of the spectrum is window_samples times the waveform's energy
    (a tight frame).
    """
    num_samples = waveform.shape[-1]
    padding = -num_samples % hop_samples
    flat = F.pad(waveform.reshape(-1, num_samples), (0, padding))
    if flat.shape[0] == 0:  # torch.stft fails on an empty batch; len() would fix its size in graphs
        shape = (window_samples // 2 + 1, num_frames(num_samples, hop_samples))
        return torch.view_as_complex(waveform.new_zeros(*waveform.shape[:-1], *shape, 2))
    spec = torch.stft(
        flat,
        window_samples,
        hop_samples,
        window=window(window_samples, waveform),
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    return spec.reshape(*waveform.shape[:-1], *spec.shape[-2:])


def istft(spec: Tensor, window_samples: int, hop_samples: int, num_samples: int) -> Tensor:
    """Inverse of `stft`: spec (..., f, n) to (..., t) with t = num_samples."""
    flat = spec.reshape(-1, *spec.shape[-2:])
    padded_samples = (spec.shape[-1] - 1) * hop_samples
    waveform = torch.istft(
        flat,
        window_samples,
        hop_samples,
        window=window(window_samples, spec.real),
        center=True,
        length=padded_samples,
    )
    return waveform[:, :num_samples].reshape(*spec.shape[:-2], num_samples)


def hann_stft(
    waveform: Tensor, window_samples: int, hop_samples: int, pad_mode: str = "constant"
) -> Tensor:
    """waveform (..., t), t >= 1, to (..., f, n) as librosa >= 0.10 computes it.

    Periodic Hann window; frames centred on multiples of the hop up to t, so n = 1 + t // hop. pad_mode:
    how the waveform is extended at its ends, as in torch.stft; "reflect" needs t > window_samples / 2.
    """
    spec = torch.stft(
        waveform.reshape(-1, waveform.shape[-1]),
        window_samples,
        hop_samples,
        window=torch.hann_window(window_samples, dtype=waveform.dtype, device=waveform.device),
        center=True,
        pad_mode=pad_mode,
        return_complex=True,
    )
    return spec.reshape(*waveform.shape[:-1], *spec.shape[-2:])


def hann_istft(spec: Tensor, window_samples: int, hop_samples: int, num_samples: int) -> Tensor:
    """Least-squares inverse of `hann_stft`: spec (..., f, n) to (..., t), t = num_samples."""
    waveform = torch.istft(
        spec.reshape(-1, *spec.shape[-2:]),
        window_samples,
        hop_samples,
        window=torch.hann_window(window_samples, dtype=spec.real.dtype, device=spec.device),
        center=True,
        length=num_samples,
    )
    return waveform.reshape(*spec.shape[:-2], num_samples)


def uncovered(num_samples: int, window_samples: int, hop_samples: int) -> int:
    """How many zeros to append to a waveform whose `hann_stft` is to be masked: 0 for windows of three hops
    or more, for shorter ones up to a whole number of hops.

    Samples after the centre of the last frame lie under the rim of that frame alone if windows are short.
    The inverse divides by the square of the window there, by almost nothing, which amplifies what a mask
    leaves.
    """
    return 0 if window_samples >= 3 * hop_samples else -num_samples % hop_samples

"""Replacements, during tracing, for operations that ONNX graphs lack or compute less exactly.

Runtimes know no complex numbers. Within `Portable` torch.stft and torch.istft compute with `Spectrum`, a pair
of real tensors in the place of a complex one, so that a separator's own code can be traced as it is. The
Fourier matrices are looked up in a table of one period, in the graph itself: exact to the table's last digit,
and kilobytes instead of the megabytes that they are when written out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

Matrices = Callable[[int], tuple[Tensor, Tensor]]


class Spectrum:
    """A complex tensor (...) as its parts, pairs (..., 2). It supports what separators do with spectra:
    multiplication by masks, reshaping of leading axes, `torch.view_as_real`."""

    def __init__(self, pairs: Tensor) -> None:
        self.pairs = pairs

    @property
    def shape(self) -> torch.Size:
        """As of the complex tensor."""
        return self.pairs.shape[:-1]

    @property
    def real(self) -> Tensor:
        """Real parts (...)."""
        return self.pairs[..., 0]

    @property
    def imag(self) -> Tensor:
        """Imaginary parts (...)."""
        return self.pairs[..., 1]

    def __getitem__(self, index: Any) -> Spectrum:
        places = index if isinstance(index, tuple) else (index,)
        if Ellipsis not in places:
            places = (*places, Ellipsis)
        if places[-1] is not Ellipsis:
            raise NotImplementedError("a spectrum is indexed by its leading axes")
        return Spectrum(self.pairs[(*places, slice(None))])

    def __mul__(self, mask: Tensor) -> Spectrum:
        return Spectrum(mask[..., None] * self.pairs)

    __rmul__ = __mul__

    def reshape(self, *shape: Any) -> Spectrum:
        """As Tensor.reshape."""
        sizes = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        return Spectrum(self.pairs.reshape(*sizes, 2))

    def abs(self) -> Tensor:
        """Magnitudes (...)."""
        return self.pairs.square().sum(dim=-1).sqrt()

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is torch.view_as_real:
            return args[0].pairs
        if function in (Tensor.mul, Tensor.__mul__, Tensor.__rmul__, torch.mul):
            first, second = args
            return second * first if isinstance(second, Spectrum) else first * second
        return NotImplemented


class Portable(TorchFunctionMode):
    """`with Portable():` torch.stft and torch.istft, centred and with zeros around, by matrices; sigmoid with
    all its digits."""

    def __init__(self) -> None:
        super().__init__()
        self.matrices: dict[int, tuple[Tensor, Tensor]] = {}

    def fourier(self, size: int) -> tuple[Tensor, Tensor]:
        """As the function, each size once."""
        if size not in self.matrices:
            self.matrices[size] = fourier(size)
        return self.matrices[size]

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        replaced: dict[Any, Callable[..., Any]] = {torch.stft: stft, torch.istft: istft}
        if function in replaced:
            return replaced[function](*args, **(kwargs or {}), matrices=self.fourier)
        if function in (torch.sigmoid, Tensor.sigmoid):
            # ONNX Runtime's sigmoid errs by 1e-7 everywhere, which is a third of a mask of 3e-7.
            return 1 / (1 + torch.exp(-args[0]))
        return function(*args, **(kwargs or {}))


def stft(
    waveform: Tensor,
    n_fft: int,
    hop_length: int,
    *,
    window: Tensor,
    center: bool = True,
    pad_mode: str = "constant",
    return_complex: bool = True,
    matrices: Matrices,
    **others: object,
) -> Spectrum:
    """As torch.stft of waveform (b, t): (b, f, n). others: torch's defaults."""
    usual = center and pad_mode == "constant" and return_complex and not any(others.values())
    if not usual or n_fft % hop_length:
        raise ValueError("only centred frames with zeros around, a whole number of hops long")
    padded = F.pad(waveform, (n_fft // 2, n_fft // 2))
    num_hops = padded.shape[-1] // hop_length
    # narrow instead of slices, since its size is known in tracing
    hops = padded.narrow(1, 0, num_hops * hop_length).reshape(-1, num_hops, hop_length)
    overlap = n_fft // hop_length
    num_frames = num_hops - overlap + 1
    frames = torch.cat([hops.narrow(1, index, num_frames) for index in range(overlap)], dim=-1)
    cosines, sines = matrices(n_fft)
    windowed = frames * window
    parts = [windowed @ cosines, windowed @ -sines]  # (b, n, f) each
    return Spectrum(torch.stack(parts, dim=-1).transpose(1, 2))


def istft(
    spec: Spectrum,
    n_fft: int,
    hop_length: int,
    *,
    window: Tensor,
    center: bool = True,
    length: int,
    matrices: Matrices,
) -> Tensor:
    """As torch.istft of spec (b, f, n): (b, length)."""
    if not center or n_fft % hop_length:
        raise ValueError("only centred frames, a whole number of hops long")
    cosines, sines = matrices(n_fft)
    mirrored = [0 < bin < n_fft / 2 for bin in range(n_fft // 2 + 1)]  # in negative frequencies
    weights = torch.tensor([[(1.0 + twice) / n_fft] for twice in mirrored])
    real, imaginary = spec.real.transpose(1, 2), spec.imag.transpose(1, 2)  # (b, n, f)
    frames = real @ (cosines.T * weights) - imaginary @ (sines.T * weights)
    waveform = overlap_added(frames * window, hop_length)
    envelope = overlap_added(window.square().expand(1, frames.shape[1], n_fft), hop_length)
    kept = (1, n_fft // 2, length)
    return waveform.narrow(*kept) / envelope.narrow(*kept)


def overlap_added(frames: Tensor, hop: int) -> Tensor:
    """Frames (b, n, window), one each hop, to their sum (b, t)."""
    overlap = frames.shape[-1] // hop
    hops = sum(
        F.pad(frames[..., index * hop : (index + 1) * hop], (0, 0, index, overlap - 1 - index))
        for index in range(overlap)
    )
    assert isinstance(hops, Tensor)
    return hops.flatten(1)


def fourier(size: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines (t, f) of 2 pi t f / size, t < size, f <= size // 2, float32."""
    angles = [2 * math.pi * index / size for index in range(size)]
    places = torch.arange(size)[:, None] * torch.arange(size // 2 + 1) % size
    tables = [torch.tensor([wave(angle) for angle in angles]) for wave in (math.cos, math.sin)]
    cosines, sines = (
        table.index_select(0, places.flatten()).reshape(places.shape) for table in tables
    )
    return cosines, sines

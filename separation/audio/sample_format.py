"""Sample formats of WAV files, and quantising a target and a residual so that they sum to the mixture.

A subtype is libsndfile's name: PCM_U8, PCM_16, PCM_24, PCM_32, FLOAT or DOUBLE. PCM of n bits
holds the multiples of 2**(1 - n) in [-1, 1): on this grid sums and differences are exact.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Waveform = NDArray[np.floating]

PCM_BITS = {"PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
FLOAT_BITS = {"FLOAT": 32, "DOUBLE": 64}
SUBTYPES = PCM_BITS | FLOAT_BITS


def sample_dtype(subtype: str) -> np.dtype[Any]:
    """The smallest floating-point type that holds every value of the subtype exactly."""
    return np.dtype(np.float64 if subtype in ("PCM_32", "DOUBLE") else np.float32)


def quantise(waveform: Waveform, subtype: str) -> Waveform:
    """The nearest values that a file of this subtype holds, as sample_dtype(subtype).

    They survive writing and reading bit by bit. PCM clamps values beyond full scale.
    """
    samples = waveform.astype(sample_dtype(subtype))
    if subtype in FLOAT_BITS:
        return samples
    steps = 2.0 ** (PCM_BITS[subtype] - 1)
    return np.minimum(np.rint(np.clip(samples, -1, 1) * steps), steps - 1) / steps


def split(mixture: Waveform, target: Waveform, subtype: str) -> tuple[Waveform, Waveform]:
    """Quantise the target, and a residual with which it sums to the mixture.

    mixture, target: (c, t). Returns target and residual, same shape, as sample_dtype(subtype). In PCM the
    sum is exact if the mixture lies on the subtype's grid, as it does when read from such a file; for
    this the target is moved by at most half a step, or more where the residual would clip. For float
    subtypes the residual is rounded once: the sum is right to half an ulp of the residual. Infinite targets
    give NaN in PCM, which writers refuse, instead of full scale.
    """
    if subtype in FLOAT_BITS:
        part = quantise(target, subtype)
        return part, mixture.astype(part.dtype) - part
    steps = 2.0 ** (PCM_BITS[subtype] - 1)
    low, high = -steps, steps - 1
    dtype = sample_dtype(subtype)
    whole = np.rint(mixture.astype(dtype) * steps)
    finite = np.where(np.isfinite(target), target, np.nan).astype(dtype)
    nearest = np.rint(np.clip(finite, -1, 1) * steps)
    # Both parts must lie in [low, high]. Decoded MP3 may exceed full scale: the residual keeps the excess,
    # which the writer clamps and counts, and the target stays in range.
    inside = np.clip(whole, low, high)
    part = np.clip(nearest, np.maximum(low, inside - high), np.minimum(high, inside - low))
    return part / steps, (whole - part) / steps


def encode(samples: Waveform, subtype: str) -> bytes:
    """samples (c, t) from `quantise` as interleaved bytes of a WAV file's data chunk."""
    interleaved = np.ascontiguousarray(samples.T)
    if subtype in FLOAT_BITS:
        return interleaved.astype(f"<f{FLOAT_BITS[subtype] // 8}").tobytes()
    integers = (interleaved * 2.0 ** (PCM_BITS[subtype] - 1)).astype("<i4")
    if subtype == "PCM_U8":  # the only unsigned format of WAV
        return (integers + 128).astype(np.uint8).tobytes()
    num_bytes = PCM_BITS[subtype] // 8
    return integers.view(np.uint8).reshape(-1, 4)[:, :num_bytes].tobytes()

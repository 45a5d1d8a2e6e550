"""Noise that is like a recording's."""

import numpy as np

RATE = 24000


def uneven_noise(seed: int, seconds: float = 1.5, rate: int = RATE, width: int = 9) -> np.ndarray:
    """Coloured noise whose level changes, as recordings' do: (t,)."""
    rng = np.random.default_rng(seed)
    waveform = np.convolve(rng.normal(0, 0.2, round(seconds * rate)), np.hanning(width), "same")
    waveform *= np.interp(np.arange(len(waveform)), np.arange(0, len(waveform), 2000), 0.1 + rng.random(-(-len(waveform) // 2000)))  # fmt: skip  # noqa: E501
    return 0.5 * waveform / np.abs(waveform).max()

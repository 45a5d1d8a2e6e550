"""Frequency bands spaced like hearing, and interpolation from bands back to bins."""

import torch
from torch import Tensor

BREAK_HZ = 1200.0  # with 128 bands at 32 kHz the narrowest is 25 Hz: one bin of a 40 ms window


def band_weights(num_bins: int, num_bands: int, sample_rate: int) -> Tensor:
    """Triangles on a logarithmic scale above BREAK_HZ, linear below: (f, k), non-negative, float32.

    Each row sums to one: `power @ weights` gathers bins into bands and keeps the total, and
    `mask @ weights.T` interpolates a band mask to bins and keeps it in [0, 1].
    """
    nyquist_hz = sample_rate / 2
    bins_hz = torch.linspace(0, nyquist_hz, num_bins, dtype=torch.float64)
    position = torch.linspace(0, 1, num_bands, dtype=torch.float64)
    centres_hz = BREAK_HZ * ((1 + nyquist_hz / BREAK_HZ) ** position - 1)
    upper = torch.searchsorted(centres_hz, bins_hz).clamp(1, num_bands - 1)
    low_hz, high_hz = centres_hz[upper - 1], centres_hz[upper]
    share = ((bins_hz - low_hz) / (high_hz - low_hz)).clamp(0, 1)
    weights = torch.zeros(num_bins, num_bands, dtype=torch.float64)
    rows = torch.arange(num_bins)
    weights[rows, upper - 1] = 1 - share
    weights[rows, upper] += share
    return weights.float()

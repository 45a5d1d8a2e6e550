"""Log-frequency spectrograms: fine rows for low frequencies, coarse ones for high (Zhao et al. 2018).

Linear position u and logarithmic position v, both in [-1, 1] from 0 Hz to Nyquist, are related by 10 u
+ 11 = 21^((v + 1) / 2): half of the rows lie below 0.18 of the Nyquist frequency.
"""

import math

import torch
from torch import Tensor

BASE = 21.0


def warp(magnitude: Tensor, num_rows: int) -> Tensor:
    """Linear bins to logarithmic rows, by linear interpolation: (..., f, n) to (..., num_rows, n)."""
    v = torch.linspace(-1, 1, num_rows, dtype=torch.float64)
    return interpolate_rows(magnitude, (BASE ** ((v + 1) / 2) - 11) / 10)


def unwarp(mask: Tensor, num_bins: int) -> Tensor:
    """Logarithmic rows to linear bins, by linear interpolation: (..., k, n) to (..., num_bins, n). A
    mask stays in its range."""
    u = torch.linspace(-1, 1, num_bins, dtype=torch.float64)
    return interpolate_rows(mask, 2 * (10 * u + 11).log() / math.log(BASE) - 1)


def interpolate_rows(values: Tensor, positions: Tensor) -> Tensor:
    """values (..., f, n) at positions (k,), in [-1, 1] from the first row to the last: (..., k, n)."""
    last = values.shape[-2] - 1
    # Rounded to float32, as the published grids are: on steep spectra the rounding matters.
    rows = ((positions.float() + 1) * (last / 2)).clamp(0, last)
    low = rows.floor().long().clamp(max=max(0, last - 1))
    share = (rows - low).to(values)[:, None]
    below = values.index_select(-2, low.to(values.device))
    above = values.index_select(-2, (low + 1).clamp(max=last).to(values.device))
    return below * (1 - share) + above * share

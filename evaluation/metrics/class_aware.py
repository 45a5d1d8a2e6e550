"""Class-aware permutation-invariant SDR improvement (CAPI-SDRi): separated sources and their labels in one.

Nguyen et al. 2026 (arXiv 2601.22504), as the baseline of DCASE 2026 task 4 computes it. Estimates and
references of one class are paired one to one, so that the sum of the pairs' SDRs is greatest; a pair counts
by its SDR improvement, and a source that was missed or is too many by 0 dB. A mixture's score is the mean
over what was counted in all of its classes. A mixture without sources in which none is estimated has no
score. Where no class occurs twice it is the CA-SDRi of DCASE 2025 task 4 (Nguyen et al. 2025).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ENERGY_FLOOR = float(np.finfo(np.float32).eps)  # in both energies, as torchmetrics adds it


def class_sdr_i(
    estimates: Sequence[NDArray[np.floating]],
    references: Sequence[NDArray[np.floating]],
    mixture: NDArray[np.floating],
) -> NDArray[np.float64]:
    """What one class counts in one mixture, in dB: the pairs' SDR improvements, then a 0 for each source
    without a partner.

    estimates, references: n and m waveforms (t,); mixture: (t,). Returns (max(n, m),).
    """
    from scipy.optimize import linear_sum_assignment

    counted = np.zeros(max(len(estimates), len(references)))
    if not len(estimates) or not len(references):
        return counted
    sdrs = np.array([[_sdr(estimate, r) for r in references] for estimate in estimates])
    pairs = linear_sum_assignment(sdrs, maximize=True)
    of_mixture = np.array([_sdr(mixture, reference) for reference in references])
    improvements = (sdrs - of_mixture)[pairs]
    counted[: len(improvements)] = improvements
    return counted


def _sdr(estimate: NDArray[np.floating], reference: NDArray[np.floating]) -> float:
    target = reference.astype(np.float64)
    energy, error = (target**2).sum(), ((target - estimate) ** 2).sum()
    return float(10 * np.log10((energy + ENERGY_FLOOR) / (error + ENERGY_FLOOR)))

"""Signal-to-distortion ratios in dB, in float64, one value per item.

The improvement of a ratio is its value for the estimate minus its value for the mixture.
Energies are sums over t, plus 1e-12, so that silence has a defined value: a silent estimate scores 0 dB, a
perfect one 10 log10(E / 1e-12) for a target of energy E.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

ENERGY_FLOOR = 1e-12
LEAKAGE_FLOOR_DB = -100.0


def si_sdr(estimate: Any, reference: Any) -> Tensor:
    """Scale-invariant SDR of zero-mean signals: 10 log10(|ar|^2 / |e - ar|^2), a = <e, r> / |r|^2.

    estimate, reference: arrays or tensors (..., t), same shape, else ValueError. Returns (...), dB.
    Le Roux et al. 2019, "SDR - half-baked or well done?".
    """
    estimate, reference = float64_pair(estimate, reference)
    estimate = estimate - estimate.mean(dim=-1, keepdim=True)
    reference = reference - reference.mean(dim=-1, keepdim=True)
    scale = (estimate * reference).sum(dim=-1) / (_energy(reference) + ENERGY_FLOOR)
    projection = scale[..., None] * reference
    return _ratio_db(_energy(projection), _energy(estimate - projection))


def uncentred_si_sdr(estimate: Any, reference: Any) -> Tensor:
    """SI-SDR as AudioSep and DCASE 2024 task 9 compute it: without removing means.

    Energies and the inner product have float32's machine epsilon added, as in their code.
    estimate, reference: arrays or tensors (..., t), same shape. Returns (...), dB.
    """
    estimate, reference = float64_pair(estimate, reference)
    floor = torch.finfo(torch.float32).eps
    scale = ((estimate * reference).sum(dim=-1) + floor) / (_energy(reference) + floor)
    projection = scale[..., None] * reference
    numerator, denominator = _energy(projection), _energy(estimate - projection)
    return 10 * ((numerator + floor) / (denominator + floor)).log10()


def sdr(estimate: Any, reference: Any) -> Tensor:
    """Plain 10 log10(|r|^2 / |r - e|^2), as AudioSep and DCASE 2024 task 9 report it.

    estimate, reference: arrays or tensors (..., t), same shape. Returns (...), dB.
    """
    estimate, reference = float64_pair(estimate, reference)
    return _ratio_db(_energy(reference), _energy(reference - estimate))


def sa_sdr(estimates: Any, references: Any) -> Tensor:
    """Source-aggregated SDR: 10 log10(sum of |r|^2 / sum of |r - e|^2), both sums over the sources.

    estimates, references: arrays or tensors (..., s, t), same shape. Returns (...), dB. A silent
    source counts by what leaks into it. von Neumann et al. 2022, "SA-SDR", eq. 4.
    """
    estimates, references = float64_pair(estimates, references)
    return _ratio_db(_energy(references).sum(dim=-1), _energy(references - estimates).sum(dim=-1))


def leakage_db(estimate: Any, mixture: Any) -> Tensor:
    """Level of the estimate relative to the mixture, for queries of absent sounds: 10 log10(|e|^2 / |m|^2).

    estimate, mixture: arrays or tensors (..., t), same shape. Returns (...), dB, at least
    LEAKAGE_FLOOR_DB; 0 is the mixture itself, and lower is better.
    """
    estimate, mixture = float64_pair(estimate, mixture)
    ratio = _energy(estimate) / _energy(mixture).clamp_min(ENERGY_FLOOR)
    return 10 * ratio.clamp_min(10 ** (LEAKAGE_FLOOR_DB / 10)).log10()


def _energy(waveform: Tensor) -> Tensor:
    return waveform.square().sum(dim=-1)


def _ratio_db(signal: Tensor, noise: Tensor) -> Tensor:
    return 10 * ((signal + ENERGY_FLOOR) / (noise + ENERGY_FLOOR)).log10()


def float64_pair(estimate: Any, reference: Any) -> tuple[Tensor, Tensor]:
    """Both as float64 on the CPU; ValueError unless they have the same shape (..., t), t >= 1."""
    first = torch.as_tensor(estimate, dtype=torch.float64, device="cpu")
    second = torch.as_tensor(reference, dtype=torch.float64, device="cpu")
    if first.shape != second.shape or first.ndim == 0 or first.shape[-1] == 0:
        raise ValueError(
            f"expected two waveforms of one shape (..., t), t >= 1; "
            f"got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    return first, second

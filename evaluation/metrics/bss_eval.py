"""BSSEval version 4: SDR, ISR, SIR and SAR by projection on delayed references, in float64.

An estimate is split into the reference, a spatial error (its reference filtered by filters_len taps, minus
the reference), interference (what filters of all references explain beyond that) and artefacts (the rest).
Filters are computed over the whole signal, ratios over each window. Vincent et al. 2006, "Performance
measurement in blind audio source separation"; Stöter et al. 2018, "The 2018 signal separation evaluation
campaign".

Results agree with museval to 0.001 dB except where museval's own results change when the signals are
scaled: where references have almost no energy in part of the spectrum (less than 16 bits), the filters are
rounding errors there, and short windows with sound in that part show them.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .projection import Array, Energies, Projector


class Ratios(NamedTuple):
    """Ratios in dB, each (..., s, w) for s sources in w windows."""

    sdr: Array
    isr: Array
    sir: Array
    sar: Array


class SourceRatios(NamedTuple):
    """Ratios in dB, each (..., s)."""

    sdr: Array
    sir: Array
    sar: Array


def bss_eval(
    references: Any,
    estimates: Any,
    window: float = math.inf,
    hop: float = math.inf,
    filters_len: int = 512,
) -> Ratios:
    """As museval.metrics.bss_eval without permutation, but batched.

    references, estimates: arrays or tensors of the same shape, (s, t), (s, t, c) or (..., s, t, c), with
    samples before channels as in museval. window, hop: in samples. Returns Ratios, each (..., s, w), in dB.
    All sources are NaN in a window in which a reference or an estimate is silent (its channels sum to zero
    in every sample), and in all windows if one is silent throughout, which museval refuses. A ratio is inf
    if the error in its denominator is zero. Raises ValueError for other shapes, empty signals, NaN or inf.
    """
    references, estimates = _checked(references, estimates, filters_len)
    starts, stops = _windows(references.shape[-2], window, hop)
    batch, num_sources = references.shape[:-3], references.shape[-3]
    ratios = np.full((4, *batch, num_sources, len(starts)), np.nan)
    for i in np.ndindex(batch):
        reference, estimate = references[i], estimates[i]
        if _any_silent(reference) or _any_silent(estimate):
            continue
        projector = Projector(reference, estimate, filters_len)
        for window_index, (start, stop) in enumerate(zip(starts, stops, strict=True)):
            parts = reference[:, start:stop], estimate[:, start:stop]
            if not (_any_silent(parts[0]) or _any_silent(parts[1])):
                energies = projector.energies(*parts)
                ratios[(slice(None), *i, slice(None), window_index)] = _image_ratios(energies)
    return Ratios(*ratios)


def bss_eval_sources(references: Any, estimates: Any, filters_len: int = 512) -> SourceRatios:
    """BSSEval version 3 for sources, without permutation: filtered versions of the reference are no error.

    SDR, SIR and SAR as mir_eval.separation.bss_eval_sources computes them, over the whole signal. Arguments
    and errors as in bss_eval. Returns SourceRatios, each (..., s), in dB; NaN if a reference or an estimate
    is silent.
    """
    references, estimates = _checked(references, estimates, filters_len)
    batch, num_sources = references.shape[:-3], references.shape[-3]
    ratios = np.full((3, *batch, num_sources), np.nan)
    for i in np.ndindex(batch):
        reference, estimate = references[i], estimates[i]
        if not (_any_silent(reference) or _any_silent(estimate)):
            energies = Projector(reference, estimate, filters_len).energies(reference, estimate)
            ratios[(slice(None), *i)] = _source_ratios(energies)
    return SourceRatios(*ratios)


def _image_ratios(e: Energies) -> Array:
    numerators = (e.true, e.true, e.target, e.whole)
    return _db(numerators, (e.error, e.spatial, e.interference, e.artefacts))


def _source_ratios(e: Energies) -> Array:
    return _db((e.target, e.target, e.whole), (e.other, e.interference, e.artefacts))


def _checked(references: Any, estimates: Any, num_taps: int) -> tuple[Array, Array]:
    """Both as float64 (..., s, t, c)."""
    pair = [
        np.atleast_3d(np.asarray(signals, dtype=np.float64)) for signals in (references, estimates)
    ]
    if pair[0].shape != pair[1].shape or 0 in pair[0].shape[-3:]:
        raise ValueError(
            f"expected references and estimates of one shape, (s, t) or (..., s, t, c), nothing empty; "
            f"got {np.shape(references)} and {np.shape(estimates)}"
        )
    if not (np.isfinite(pair[0]).all() and np.isfinite(pair[1]).all()):
        raise ValueError("the references or the estimates hold NaN or infinity")
    if num_taps < 1:
        raise ValueError(f"filters_len is {num_taps}; expected 1 or more")
    return pair[0], pair[1]


def _windows(num_samples: int, window: float, hop: float) -> tuple[list[int], list[int]]:
    """Starts and ends of the windows in samples, rounded down as museval does; one window if all fits."""
    if not window < num_samples:
        return [0], [num_samples]
    if not (window >= 1 and 0 < hop < math.inf):
        raise ValueError(
            f"expected a window of 1 sample or more and a finite hop, got {window}, {hop}"
        )
    num_windows = math.floor((num_samples - window + hop) / hop)
    starts = [index * hop for index in range(num_windows)]
    stops = [min(start + window, num_samples) for start in starts]
    return [math.floor(start) for start in starts], [math.floor(stop) for stop in stops]


def _any_silent(signals: Array) -> bool:
    return bool((signals.sum(axis=-1) == 0).all(axis=-1).any())


def _db(numerators: tuple[Array, ...], denominators: tuple[Array, ...]) -> Array:
    """Ratios (n, s) in dB; inf if the denominator is not positive, as in museval."""
    above, below = np.array(numerators), np.array(denominators)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, 10 * np.log10(above / below), np.inf)

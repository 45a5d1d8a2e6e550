"""BSSEval version 4: SDR, ISR, SIR and SAR by projection on delayed references, in float64.

An estimate is split into the reference, a filtering error (of the own reference by filters_len taps),
interference (what filters of all references explain beyond that) and artefacts (the rest). The filters
are those of the whole signal; the ratios are of each window. Vincent et al. 2006, "Performance measurement
in blind audio source separation"; Stöter et al. 2018, "The 2018 signal separation evaluation campaign".

Results are museval's to 0.001 dB wherever its own do not move when the signals are scaled. They do where
references have next to no energy in part of the spectrum, to less than 16 bits: then the filters are
rounding errors there, and short windows that hold sound in that part show them.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .projection import Array, Energies, Projector


class Ratios(NamedTuple):
    """In dB, each (..., s, w) for s sources in w windows."""

    sdr: Array
    isr: Array
    sir: Array
    sar: Array


class SourceRatios(NamedTuple):
    """In dB, each (..., s)."""

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
    """What museval.metrics.bss_eval gives without permutation, batched.

    references, estimates: arrays or tensors of one shape, (s, t), (s, t, c) or with leading batch
    dimensions (..., s, t, c), as museval has them: samples before channels. window, hop: samples.
    All sources are NaN in windows in which a reference or an estimate is silent (its channels sum to
    zero in every sample), and everywhere where one is silent throughout, which museval refuses.
    inf: nothing of the error in the denominator is there.
    """
    references, estimates = _checked(references, estimates, filters_len)
    starts, stops = _windows(references.shape[-2], window, hop)
    batch, num_sources = references.shape[:-3], references.shape[-3]
    ratios = np.full((4, *batch, num_sources, len(starts)), np.nan)
    for place in np.ndindex(batch):
        reference, estimate = references[place], estimates[place]
        if _any_silent(reference) or _any_silent(estimate):
            continue
        projector = Projector(reference, estimate, filters_len)
        for index, (start, stop) in enumerate(zip(starts, stops, strict=True)):
            parts = reference[:, start:stop], estimate[:, start:stop]
            if not (_any_silent(parts[0]) or _any_silent(parts[1])):
                energies = projector.energies(*parts)
                ratios[(slice(None), *place, slice(None), index)] = _image_ratios(energies)
    return Ratios(*ratios)


def bss_eval_sources(references: Any, estimates: Any, filters_len: int = 512) -> SourceRatios:
    """BSSEval version 3 for sources, without permutation: any filtering of the reference is allowed.

    What mir_eval.separation.bss_eval_sources calls SDR, SIR and SAR. Arguments as of bss_eval, whole
    signals. NaN where a reference or an estimate is silent.
    """
    references, estimates = _checked(references, estimates, filters_len)
    batch, num_sources = references.shape[:-3], references.shape[-3]
    ratios = np.full((3, *batch, num_sources), np.nan)
    for place in np.ndindex(batch):
        reference, estimate = references[place], estimates[place]
        if not (_any_silent(reference) or _any_silent(estimate)):
            energies = Projector(reference, estimate, filters_len).energies(reference, estimate)
            ratios[(slice(None), *place)] = _source_ratios(energies)
    return SourceRatios(*ratios)


def _image_ratios(e: Energies) -> Array:
    numerators = (e.true, e.true, e.own, e.whole)
    return _db(numerators, (e.error, e.spatial, e.interference, e.artefacts))


def _source_ratios(e: Energies) -> Array:
    return _db((e.own, e.own, e.whole), (e.other, e.interference, e.artefacts))


def _checked(references: Any, estimates: Any, num_taps: int) -> tuple[Array, Array]:
    """Both as float64 (..., s, t, c)."""
    pair = [
        np.atleast_3d(np.asarray(signals, dtype=np.float64)) for signals in (references, estimates)
    ]
    if pair[0].shape != pair[1].shape or 0 in pair[0].shape[-3:]:
        raise ValueError(
            f"expected references and estimates of one shape, (s, t) or (..., s, t, c), with nothing "
            f"empty; got {np.shape(references)} and {np.shape(estimates)}"
        )
    if not (np.isfinite(pair[0]).all() and np.isfinite(pair[1]).all()):
        raise ValueError("the references or the estimates hold NaN or infinity")
    if num_taps < 1:
        raise ValueError(f"filters_len is {num_taps}; expected 1 or more")
    return pair[0], pair[1]


def _windows(num_samples: int, window: float, hop: float) -> tuple[list[int], list[int]]:
    """First samples and ends of the windows, rounded down as museval does; one where all fits in it."""
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
    """inf where the denominator is not positive, as museval; (n, s)."""
    above, below = np.array(numerators), np.array(denominators)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, 10 * np.log10(above / below), np.inf)

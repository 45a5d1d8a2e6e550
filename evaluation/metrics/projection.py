"""Energies of projections of estimates on delayed references, in float64: the core of BSSEval.

museval computes the projections as waveforms. Here their energies come from correlations: the energy of
references r_i filtered by h_i is the sum over i, j and lags of the correlations of r_i and r_j times those of
h_i and h_j. The filters solve positive definite normal equations, so one Cholesky factor serves all
estimates.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MIN_BLOCK = 1024  # samples
BLOCKS_AT_ONCE = 16  # so that their spectra stay in the processor's cache
# Energies are differences, with rounding errors of about 1e-15 of their terms. Energies below this share of
# the terms are computed from waveforms instead, which keeps them accurate to 0.001 dB.
TRUSTED_SHARE = 1e-10


class Energies(NamedTuple):
    """Energies, each (s,), summed over the samples and channels of a window.

    true: the reference; error: estimate - reference; target: the estimate projected on the reference;
    spatial: target - reference; other: estimate - target; whole: the estimate projected on all references;
    interference: whole - target; artefacts: estimate - whole.
    """

    true: Array
    error: Array
    target: Array
    spatial: Array
    other: Array
    whole: Array
    interference: Array
    artefacts: Array


class Projector:
    """Projection filters of whole signals (s, t, c), and energies of the projections in windows of them.

    Filters are (k, l, c): l taps from k = s c reference channels to the c channels of an estimate.
    """

    def __init__(self, references: Array, estimates: Array, num_taps: int) -> None:
        self.num_taps = num_taps
        num_sources, _, num_channels = references.shape
        self.all_lags = among, across = correlations(references, estimates, num_taps)
        self.num_samples = references.shape[1]
        right = across.transpose(0, 2, 1).reshape(-1, across.shape[1])  # (k l, s c)
        shape = (num_sources * num_channels, num_taps, num_sources, num_channels)
        self.whole = solve(among, right).reshape(shape).transpose(2, 0, 1, 3)
        self.target = np.zeros_like(self.whole)  # (s, k, l, c), zero for channels of other sources
        for source in range(num_sources):
            channels = slice(source * num_channels, (source + 1) * num_channels)
            d = across[channels, channels].transpose(0, 2, 1).reshape(-1, num_channels)
            taps = solve(among[channels, channels], d)
            self.target[source, channels] = taps.reshape(num_channels, num_taps, num_channels)

    def energies(self, references: Array, estimates: Array) -> Energies:
        """Energies in a window of the signals that the filters were computed for.

        references, estimates: (s, t, c).
        """
        among, across = self.all_lags
        if references.shape[1] < self.num_samples:
            among, across = correlations(references, estimates, self.num_taps)
        num_channels = references.shape[-1]
        true, estimated = energy(references), energy(estimates)
        rows = []
        for source, (whole, target) in enumerate(zip(self.whole, self.target, strict=True)):
            channels = slice(source * num_channels, (source + 1) * num_channels)
            spatial = target.copy()
            spatial[channels, 0] -= np.eye(num_channels)
            filters = np.stack([target, spatial, whole, whole - target])
            projected = filtered_energies(among, filters)
            # estimate - projection: E(e) - 2 <e, P e> + E(P e), <e, P e> from the correlations.
            inner = [np.einsum("kcl,klc->", across[:, channels], taps) for taps in (target, whole)]
            residuals = estimated[source] - 2 * np.array(inner) + projected[[0, 2]]
            scale = np.einsum(
                "k,mklc->m", among[range(len(among)), range(len(among)), 0], filters**2
            )
            limits = TRUSTED_SHARE * np.append(scale, estimated[source] + scale[[0, 2]])
            values = np.append(projected, residuals)
            if (values < limits).any():
                values = waveform_energies(references, estimates[source], filters)
            rows.append(values)
        names = ("target", "spatial", "whole", "interference", "other", "artefacts")
        by_name = dict(zip(names, np.array(rows).T, strict=True))
        return Energies(true=true, error=energy(estimates - references), **by_name)


def correlations(references: Array, estimates: Array, num_lags: int) -> tuple[Array, Array]:
    """Sums over t of r_i[t] r_j[t + lag] and of r_i[t] e_j[t + lag], each (k, k, l), for lags 0 to l - 1.

    references, estimates: (s, t, c), taken as k = s c channels r and e; l = num_lags.
    Each block of b samples is transformed once, zero-padded to 2 b. Two consecutive blocks as one of 2 b
    samples have the spectrum X_n + (-1)^f X_(n+1), which gives all lags up to b without wrap-around.
    """
    import scipy.fft

    signals = np.concatenate([flat(references), flat(estimates)])
    num_references = len(signals) // 2
    block = max(MIN_BLOCK, 1 << (num_lags - 1).bit_length())
    num_blocks = -(-signals.shape[-1] // block)
    sign = np.where(np.arange(block + 1) % 2, -1.0, 1.0)
    summed = np.zeros((num_references, len(signals), block + 1), dtype=np.complex128)
    for first in range(0, num_blocks, BLOCKS_AT_ONCE):
        last = min(first + BLOCKS_AT_ONCE, num_blocks)
        # With one more block, the last one's successor.
        part = signals[:, first * block : (last + 1) * block]
        padded = np.zeros((len(signals), (last + 1 - first) * block))
        padded[:, : part.shape[-1]] = part
        blocks = padded.reshape(len(signals), -1, block)
        spectra = scipy.fft.rfft(blocks, 2 * block, workers=num_threads())
        pairs = spectra[:, :-1] + sign * spectra[:, 1:]
        for row, spectrum in zip(summed, spectra[:num_references, :-1].conj(), strict=True):
            row += (spectrum * pairs).sum(axis=1)
    lags = scipy.fft.irfft(summed, 2 * block)[..., :num_lags]
    return lags[:, :num_references], lags[:, num_references:]


def solve(among: Array, right: Array) -> Array:
    """Filters (k l, m) that solve the normal equations of k channels: among (k, k, l), right (k l, m)."""
    from scipy.linalg.lapack import dposv

    # Symmetric: the transpose is the same matrix, in the order that LAPACK takes without a copy.
    _, solution, failed = dposv(normal_matrix(among).T, right, overwrite_a=True)
    if not failed:
        return solution
    matrix = normal_matrix(among)
    try:  # singular up to rounding: the references lack some frequencies, or are equal
        return np.asarray(np.linalg.solve(matrix, right), np.float64)
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(matrix, right)[0], np.float64)


def normal_matrix(among: Array) -> Array:
    """Inner products of the delayed references, (k l, k l), from their correlations (k, k, l)."""
    num_channels, _, num_taps = among.shape
    # For each pair the lags from num_taps - 1 down to 1 - num_taps: each row of the pair's Toeplitz block
    # is a window of them.
    lags = np.concatenate([among[..., ::-1], among.transpose(1, 0, 2)[..., 1:]], axis=-1)
    diagonal = range(num_channels)
    lags[diagonal, diagonal, num_taps - 1] += np.finfo(np.float64).eps  # as museval
    windows = np.lib.stride_tricks.sliding_window_view(lags, num_taps, axis=-1)
    matrix = windows[:, :, ::-1].transpose(0, 2, 1, 3).reshape(num_channels * num_taps, -1)
    return np.ascontiguousarray(matrix)  # for one channel it is still a view


def filtered_energies(among: Array, filters: Array) -> Array:
    """Energies (m,) of filtered references, from their correlations (k, k, l) and filters (m, k, l, c)."""
    import scipy.fft

    num_taps = filters.shape[2]
    size = scipy.fft.next_fast_len(2 * num_taps - 1, real=True)
    spectra = scipy.fft.rfft(filters, size, axis=2)
    lags = scipy.fft.irfft(np.einsum("mifc,mjfc->mijf", spectra, spectra.conj()), size)
    lags = lags[..., :num_taps]  # sums of h_i[n + lag] h_j[n]
    # Lag -l of the pair (i, j) is lag l of the pair (j, i), which the sum contains as well.
    return 2 * np.einsum("ijl,mijl->m", among, lags) - np.einsum(
        "ij,mij->m", among[..., 0], lags[..., 0]
    )


def waveform_energies(references: Array, estimate: Array, filters: Array) -> Array:
    """A source's energies in the order of Projector.energies, (6,), computed from waveforms.

    references: (s, t, c); estimate: (t, c); filters: (4, k, l, c), for target, spatial, whole, interference.
    """
    import scipy.fft

    channels = flat(references)
    num_samples = channels.shape[-1] + filters.shape[2] - 1
    size = scipy.fft.next_fast_len(num_samples, real=True)
    spectra = scipy.fft.rfft(channels, size)
    padded = np.zeros((estimate.shape[1], num_samples))
    padded[:, : len(estimate)] = estimate.T
    energies, residuals = [], []
    for taps in filters:
        product = np.einsum("kf,kfc->cf", spectra, scipy.fft.rfft(taps, size, axis=1))
        projected = scipy.fft.irfft(product, size)[:, :num_samples]
        energies.append(float((projected**2).sum()))
        residuals.append(float(((padded - projected) ** 2).sum()))
    return np.array([*energies, residuals[0], residuals[2]])


def flat(signals: Array) -> Array:
    """Signals (s, t, c) as channels (s c, t)."""
    return signals.transpose(0, 2, 1).reshape(-1, signals.shape[1])


def energy(signals: Array) -> Array:
    """Energy of signals (..., t, c), summed over samples and channels: (...)."""
    return (signals**2).sum(axis=(-2, -1))


def num_threads() -> int:
    """The number of threads that torch uses, so that one setting applies to both."""
    import torch

    return torch.get_num_threads()

"""Projections of estimates on delayed references, as energies: what BSSEval is made of. Float64.

museval makes the projections as waveforms. Here their energies come from correlations: the energy of
references r_i filtered by h_i is the sum over i, j and lags of their correlations with those of the
filters. The filters themselves solve normal equations that are positive definite, so one Cholesky
factor serves all estimates.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MIN_BLOCK = 1024  # samples; with so many blocks at once the spectra stay in the processor's cache
BLOCKS_AT_ONCE = 16
# Rounding leaves energies about 1e-15 of what they are differences of. Below this share they are
# taken from waveforms instead, which keeps 0.001 dB.
TRUSTED_SHARE = 1e-10


class Energies(NamedTuple):
    """Each (s,), over samples and channels of one window.

    true: the reference; error: estimate - reference; own: the estimate projected on its own reference,
    spatial: own - reference, other: estimate - own; whole: projected on all references,
    interference: whole - own, artefacts: estimate - whole.
    """

    true: Array
    error: Array
    own: Array
    spatial: Array
    other: Array
    whole: Array
    interference: Array
    artefacts: Array


class Projector:
    """Filters of whole signals (s, t, c), and the energies that they leave in windows of them.

    Filters are (k, l, c), from k = s c reference channels to the c channels of one estimate.
    """

    def __init__(self, references: Array, estimates: Array, num_taps: int) -> None:
        self.num_taps = num_taps
        num_sources, _, num_channels = references.shape
        self.all_lags = among, across = correlations(references, estimates, num_taps)
        self.num_samples = references.shape[1]
        right = across.transpose(0, 2, 1).reshape(-1, across.shape[1])  # (k l, s c)
        shape = (num_sources * num_channels, num_taps, num_sources, num_channels)
        self.whole = solve(among, right).reshape(shape).transpose(2, 0, 1, 3)
        self.own = np.zeros_like(self.whole)  # (s, k, l, c), zero for channels of other sources
        for source in range(num_sources):
            mine = slice(source * num_channels, (source + 1) * num_channels)
            d = across[mine, mine].transpose(0, 2, 1).reshape(-1, num_channels)
            taps = solve(among[mine, mine], d)
            self.own[source, mine] = taps.reshape(num_channels, num_taps, num_channels)

    def energies(self, references: Array, estimates: Array) -> Energies:
        """references, estimates: (s, t, c), a window of the signals that the filters are for."""
        among, across = self.all_lags
        if references.shape[1] < self.num_samples:
            among, across = correlations(references, estimates, self.num_taps)
        num_channels = references.shape[-1]
        true, estimated = energy(references), energy(estimates)
        rows = []
        for source, (whole, own) in enumerate(zip(self.whole, self.own, strict=True)):
            mine = slice(source * num_channels, (source + 1) * num_channels)
            spatial = own.copy()
            spatial[mine, 0] -= np.eye(num_channels)
            filters = np.stack([own, spatial, whole, whole - own])
            found = filtered_energies(among, filters)
            # estimate - projection: E(e) - 2 <e, P e> + E(P e), <e, P e> from the correlations.
            inner = [np.einsum("kcl,klc->", across[:, mine], taps) for taps in (own, whole)]
            remains = estimated[source] - 2 * np.array(inner) + found[[0, 2]]
            scale = np.einsum(
                "k,mklc->m", among[range(len(among)), range(len(among)), 0], filters**2
            )
            limits = TRUSTED_SHARE * np.append(scale, estimated[source] + scale[[0, 2]])
            values = np.append(found, remains)
            if (values < limits).any():
                values = waveform_energies(references, estimates[source], filters)
            rows.append(values)
        names = ("own", "spatial", "whole", "interference", "other", "artefacts")
        found_of = dict(zip(names, np.array(rows).T, strict=True))
        return Energies(true=true, error=energy(estimates - references), **found_of)


def correlations(references: Array, estimates: Array, num_lags: int) -> tuple[Array, Array]:
    """references, estimates: (s, t, c), as k = s c channels r and e. Sums over t of r_i[t] r_j[t + lag],
    (k, k, l), and of r_i[t] e_j[t + lag], (k, k, l), for lags from 0 to num_lags - 1.

    Blocks of b samples are transformed once, with b zeros behind them. A block and the next one as 2 b
    samples have the spectrum X_n + (-1)^f X_(n+1), which holds all lags up to b without wrapping round.
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
        part = signals[:, first * block : (last + 1) * block]  # and the block after the last
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
    """Solve the normal equations of filters of k channels: among (k, k, l), right (k l, m)."""
    from scipy.linalg.lapack import dposv

    # Symmetric, so its transpose is the same matrix, in the order that LAPACK takes without a copy.
    _, solution, failed = dposv(normal_matrix(among).T, right, overwrite_a=True)
    if not failed:
        return solution
    matrix = normal_matrix(among)
    try:  # singular to rounding: the references hold no energy at some frequencies, or are alike
        return np.asarray(np.linalg.solve(matrix, right), np.float64)
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(matrix, right)[0], np.float64)


def normal_matrix(among: Array) -> Array:
    """Inner products of the delayed references, (k l, k l), from their correlations (k, k, l)."""
    num_channels, _, num_taps = among.shape
    # One stretch a pair, lags from num_taps - 1 down to 1 - num_taps: each row of its Toeplitz block is
    # a window of it.
    stretches = np.concatenate([among[..., ::-1], among.transpose(1, 0, 2)[..., 1:]], axis=-1)
    every = range(num_channels)
    stretches[every, every, num_taps - 1] += np.finfo(np.float64).eps  # as museval
    windows = np.lib.stride_tricks.sliding_window_view(stretches, num_taps, axis=-1)
    matrix = windows[:, :, ::-1].transpose(0, 2, 1, 3).reshape(num_channels * num_taps, -1)
    return np.ascontiguousarray(matrix)  # of one channel it is a view so far


def filtered_energies(among: Array, filters: Array) -> Array:
    """Energies, summed over c, of the references with correlations among (k, k, l) through filters
    (m, k, l, c): (m,)."""
    import scipy.fft

    num_taps = filters.shape[2]
    size = scipy.fft.next_fast_len(2 * num_taps - 1, real=True)
    spectra = scipy.fft.rfft(filters, size, axis=2)
    lags = scipy.fft.irfft(np.einsum("mifc,mjfc->mijf", spectra, spectra.conj()), size)
    lags = lags[..., :num_taps]  # sums of h_i[n + lag] h_j[n]
    # Lags -l of the pair i, j are lags l of the pair j, i, which the sum holds as well.
    return 2 * np.einsum("ijl,mijl->m", among, lags) - np.einsum(
        "ij,mij->m", among[..., 0], lags[..., 0]
    )


def waveform_energies(references: Array, estimate: Array, filters: Array) -> Array:
    """As Projector.energies has them, by way of the waveforms: references (s, t, c), estimate (t, c),
    filters (m, k, l, c) for own, spatial, whole and interference."""
    import scipy.fft

    channels = flat(references)
    num_samples = channels.shape[-1] + filters.shape[2] - 1
    size = scipy.fft.next_fast_len(num_samples, real=True)
    spectra = scipy.fft.rfft(channels, size)
    padded = np.zeros((estimate.shape[1], num_samples))
    padded[:, : len(estimate)] = estimate.T
    found, remains = [], []
    for taps in filters:
        product = np.einsum("kf,kfc->cf", spectra, scipy.fft.rfft(taps, size, axis=1))
        projected = scipy.fft.irfft(product, size)[:, :num_samples]
        found.append(float((projected**2).sum()))
        remains.append(float(((padded - projected) ** 2).sum()))
    return np.array([*found, remains[0], remains[2]])


def flat(signals: Array) -> Array:
    """(s, t, c) to (s c, t)."""
    return signals.transpose(0, 2, 1).reshape(-1, signals.shape[1])


def energy(signals: Array) -> Array:
    return (signals**2).sum(axis=(-2, -1))


def num_threads() -> int:
    """As many as torch may use, so that one setting holds for all."""
    import torch

    return torch.get_num_threads()

"""Shares of the energy of a recording by sound class, and the classes that are present.

    mixture (1, t) -> energies of the classes in each step (K, n)
    energies -> level of each class in the window, and its largest share of a step, (K,) each
    level, share -> logistic regression -> probabilities (K, n)

Windows overlap by half; where two disagree, the larger probability counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..audio.resample import StreamResampler
from ..interface import Separator
from .memory import device_of

WINDOW_SECONDS = 10.0  # analysed at once; windows overlap by half
STEP_SECONDS = 0.5  # time resolution of the probabilities
QUIET_DB = -20.0  # relative to a class' loudest step in a window: below this it is inactive
FLOOR_DB = -40.0  # lower limit of levels and shares
# Log odds that a class is present: BIAS + LEVEL x level + PEAK x peak, in dB as returned by `features`.
# Logistic regression on 300 mixtures of two to four training recordings; the fitted bias, 2.737, is raised so
# that F1 on them is largest at a threshold of 0.5 (recipes/benchmarks/quality/auto_classes.py --fit).
BIAS, LEVEL, PEAK = 3.935, 0.103, 0.319


def windows(
    blocks: Iterable[NDArray[np.floating]], sample_rate: int, rate: int
) -> Iterator[tuple[int, Tensor]]:
    """Start in samples, and mean of the channels (1, t) at `rate`, of windows of WINDOW_SECONDS that
    overlap by half; the last ends with the recording."""
    size, hop = round(WINDOW_SECONDS * rate), round(WINDOW_SECONDS / 2 * rate)
    resampler = StreamResampler(sample_rate, rate, 1)
    waiting = np.zeros((1, 0), np.float32)
    start, num_new = 0, 0  # num_new: samples that are in no window yet

    def cut(part: NDArray[np.floating]) -> Iterator[tuple[int, Tensor]]:
        nonlocal waiting, start, num_new
        waiting = np.concatenate([waiting, part], axis=1)
        num_new += part.shape[1]
        while waiting.shape[1] >= size:
            yield start, torch.from_numpy(waiting[:, :size].copy())
            waiting, start = waiting[:, hop:], start + hop
            num_new = waiting.shape[1] - (size - hop)

    for block in blocks:
        yield from cut(resampler.process(block.mean(axis=0, keepdims=True)))
    yield from cut(resampler.flush())
    if num_new:
        yield start, torch.from_numpy(waiting.copy())


@torch.inference_mode()
def step_shares(separator: Separator, mixture: Tensor, step: int) -> Tensor:
    """Energies of the classes in the steps of a mixture (1, t), relative to the mixture's total energy:
    (K, n).

    "Other" is left out, so the sum is at most 1. step: in samples.
    """
    shares = separator.class_shares(mixture[None].to(device_of(separator)))
    assert shares is not None
    energies = shares[0].double().cpu()
    num_steps = -(-mixture.shape[-1] // step)
    times = torch.arange(energies.shape[1]) * mixture.shape[-1] / energies.shape[1]
    steps = (times / step).long().clamp(max=num_steps - 1)
    summed = torch.zeros(len(energies), num_steps, dtype=torch.float64)
    summed.index_add_(1, steps, energies)
    return summed[:-1] / energies.sum().clamp_min(1e-20)


def features(shares: Tensor) -> tuple[Tensor, Tensor]:
    """In dB, (K,) each: level of each class in the window relative to the mixture, and its largest
    share of a step's energy, over steps that are not nearly silent. shares: (K, n) of `step_shares`."""
    of_steps = shares.sum(dim=0)
    loud_steps = of_steps > 0.02 * of_steps.max()
    peak = (shares[:, loud_steps] / of_steps[loud_steps].clamp_min(1e-20)).amax(dim=1)
    floor = 10 ** (FLOOR_DB / 10)
    level_db = 10 * torch.log10(shares.sum(dim=1).clamp_min(floor))
    return level_db, 10 * torch.log10(peak.clamp_min(floor))


def window_probabilities(shares: Tensor) -> Tensor:
    """Probability that each class is active in each step, (K, n) float32; 0 where it is much quieter
    than its loudest step."""
    if not shares.any():
        return torch.zeros(shares.shape)
    level_db, peak_db = features(shares)
    odds = BIAS + LEVEL * level_db + PEAK * peak_db
    loudest = shares.amax(dim=1, keepdim=True)
    sounding = (loudest > 0) & (shares >= loudest * 10 ** (QUIET_DB / 10))
    return (odds.sigmoid()[:, None] * sounding).float()


def shares_of(separator: Separator, waveform: Tensor) -> Tensor:
    """Each class' share of the energy of a waveform (c, t) at the separator's rate, "other" last:
    (K + 1,), sum 1."""
    with torch.inference_mode():
        shares = separator.class_shares(waveform[None])
    assert shares is not None
    return F.normalize(shares[0].sum(dim=-1), p=1, dim=0)

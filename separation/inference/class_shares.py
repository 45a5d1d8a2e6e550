"""Shares of the energy of a recording by sound class, in windows that overlap by half."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..audio.resample import StreamResampler
from ..interface import ClassAnalysis, Separator
from .memory import device_of

WINDOW_SECONDS = 10.0  # analysed at once; windows overlap by half
STEP_SECONDS = 0.5  # time resolution of the probabilities


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


def class_analysis(separator: Separator, waveform: Tensor) -> ClassAnalysis:
    """Of a waveform (c, t) at the rate of a separator that tells its classes apart, on its device."""
    analysis = separator.class_analysis(waveform[None].to(device_of(separator)))
    assert analysis is not None
    return analysis


def step_shares(shares: Tensor, num_samples: int, step: int) -> Tensor:
    """Energies of the classes in the steps of a mixture, relative to the mixture's total energy: (K, n).

    shares: (K + 1, n'), of num_samples, see `ClassAnalysis`. "Other" is left out, so the sum is at most 1.
    step: in samples.
    """
    energies = shares.double().cpu()
    num_steps = -(-num_samples // step)
    times = torch.arange(energies.shape[1]) * num_samples / energies.shape[1]
    steps = (times / step).long().clamp(max=num_steps - 1)
    summed = torch.zeros(len(energies), num_steps, dtype=torch.float64)
    summed.index_add_(1, steps, energies)
    return summed[:-1] / energies.sum().clamp_min(1e-20)


def shares_of(separator: Separator, waveform: Tensor) -> Tensor:
    """Each class' share of the energy of a waveform (c, t) at the separator's rate, "other" last:
    (K + 1,), sum 1."""
    with torch.inference_mode():
        shares = class_analysis(separator, waveform).shares()[0]
    return F.normalize(shares.sum(dim=-1), p=1, dim=0)

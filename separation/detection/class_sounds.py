"""What a separator over sound classes hears: how much of the recording each class has, and where.

mixture -> shares of its energy, class by class -> level in a window, largest share of a step
        -> probability
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..audio.resample import StreamResampler
from ..interface import Separator
from .activity import Activity
from .hierarchy import Sound

WINDOW_SECONDS = 10.0  # heard at once, and half as much between one window's start and the next's
STEP_SECONDS = 0.5  # of the timeline
QUIET_DB = -20.0  # under a window's loudest step: the class pauses
FLOOR_DB = -40.0  # levels and shares under this are all alike
# Log-odds that a class is there: BIAS + LEVEL x level + PEAK x peak, in dB as `features` gives them. Logistic
# regression on 300 mixtures of training recordings, two to four sounds in each; the bias of 2.737 is raised
# so that 0.5 is where F1 on them is best (recipes/benchmarks/quality/auto_classes.py --fit).
BIAS, LEVEL, PEAK = 3.935, 0.103, 0.319


def detect_classes(
    separator: Separator,
    sounds: Sequence[Sound],
    blocks: Iterable[NDArray[np.floating]],
    sample_rate: int,
    threshold: float,
) -> Activity:
    """blocks: (c, t) of a recording at sample_rate, not empty; sounds: one a class. Memory does not grow
    with its length, but for the probabilities."""
    step = round(STEP_SECONDS * separator.sample_rate)
    probabilities = np.zeros((len(sounds), 0), np.float32)
    num_samples = 0
    for start, mixture in windows(blocks, sample_rate, separator.sample_rate):
        found = window_probabilities(step_shares(separator, mixture, step)).numpy()
        first = start // step
        missing = first + found.shape[1] - probabilities.shape[1]
        probabilities = np.pad(probabilities, ((0, 0), (0, max(0, missing))))
        part = probabilities[:, first : first + found.shape[1]]
        np.maximum(part, found, out=part)
        num_samples = start + mixture.shape[-1]
    seconds = num_samples / separator.sample_rate
    return Activity(tuple(sounds), probabilities, STEP_SECONDS, seconds, threshold)


def present_classes(
    separator: Separator, blocks: Iterable[NDArray[np.floating]], sample_rate: int
) -> list[str]:
    """The classes that are likelier in the recording than not."""
    sounds = [Sound(label) for label in separator.classes]
    activity = detect_classes(separator, sounds, blocks, sample_rate, threshold=0.5)
    return [separator.classes[number] for number in activity.active()]


def windows(
    blocks: Iterable[NDArray[np.floating]], sample_rate: int, rate: int
) -> Iterator[tuple[int, Tensor]]:
    """Start in samples, and the mean of the channels (1, t) at `rate`, of WINDOW_SECONDS every half of that;
    the last ends with the recording."""
    size, hop = round(WINDOW_SECONDS * rate), round(WINDOW_SECONDS / 2 * rate)
    resampler = StreamResampler(sample_rate, rate, 1)
    waiting = np.zeros((1, 0), np.float32)
    start, num_new = 0, 0  # num_new: samples that no window has had

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
    """Energies of the classes in the steps of a mixture (1, t): (K, n), "other" in the last row left out;
    divided by the mixture's whole energy, so that all sum to 1 at most."""
    device = next(separator.parameters()).device  # type: ignore[attr-defined]
    shares = separator.class_shares(mixture[None].to(device))
    assert shares is not None
    energies = shares[0].double().cpu()
    num_steps = -(-mixture.shape[-1] // step)
    seen = torch.arange(energies.shape[1]) * mixture.shape[-1] / energies.shape[1]
    steps = (seen / step).long().clamp(max=num_steps - 1)
    summed = torch.zeros(len(energies), num_steps, dtype=torch.float64)
    summed.index_add_(1, steps, energies)
    return summed[:-1] / energies.sum().clamp_min(1e-20)


def features(shares: Tensor) -> tuple[Tensor, Tensor]:
    """Of each class (K,), in dB: its level in the window relative to the mixture, and its largest share of
    a step's energy, of the steps that matter. shares: (K, n) of `step_shares`."""
    of_steps = shares.sum(dim=0)
    mattering = of_steps > 0.02 * of_steps.max()
    peak = (shares[:, mattering] / of_steps[mattering].clamp_min(1e-20)).amax(dim=1)
    least = 10 ** (FLOOR_DB / 10)
    level_db = 10 * torch.log10(shares.sum(dim=1).clamp_min(least))
    return level_db, 10 * torch.log10(peak.clamp_min(least))


def window_probabilities(shares: Tensor) -> Tensor:
    """(K, n) float32: that the class sounds in the step; 0 where it pauses."""
    if not shares.any():
        return torch.zeros(shares.shape)
    level_db, peak_db = features(shares)
    odds = BIAS + LEVEL * level_db + PEAK * peak_db
    loudest = shares.amax(dim=1, keepdim=True)
    sounding = (loudest > 0) & (shares >= loudest * 10 ** (QUIET_DB / 10))
    return (odds.sigmoid()[:, None] * sounding).float()


def shares_of(separator: Separator, waveform: Tensor) -> Tensor:
    """What share of a waveform (c, t) at the separator's rate each class has, "other" last: (K + 1,)."""
    with torch.inference_mode():
        shares = separator.class_shares(waveform[None])
    assert shares is not None
    return F.normalize(shares[0].sum(dim=-1), p=1, dim=0)

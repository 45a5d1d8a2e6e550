"""Detection by an audio tagger: the probability of each of AudioSet's classes in every two seconds, as
in USS (Kong et al. 2023, arXiv 2305.07447).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from qsep.queries.interface import Tagger

from ..audio.resample import StreamResampler
from .activity import Activity
from .hierarchy import sounds_of_audioset

SEGMENT_SECONDS = 2


def detect_tagged(
    tagger: Tagger, blocks: Iterable[NDArray[np.floating]], sample_rate: int, threshold: float
) -> Activity:
    """Tags a recording in segments of two seconds, in constant memory except for the result.

    blocks: (c, t) of a recording at sample_rate, not empty.
    """
    size = SEGMENT_SECONDS * tagger.sample_rate
    resampler: StreamResampler | None = None
    pending = np.zeros((1, 0), np.float32)
    by_segment: list[NDArray[np.float32]] = []
    num_samples = 0
    for block in blocks:
        resampler = resampler or StreamResampler(sample_rate, tagger.sample_rate, 1)
        mono = block.mean(axis=0, keepdims=True)
        num_samples += block.shape[-1]
        pending = np.concatenate([pending, resampler.process(mono)], axis=1)
        while pending.shape[1] >= size:
            by_segment.append(tag(tagger, torch.from_numpy(pending[0, :size])))
            pending = pending[:, size:]
    if resampler is not None:
        pending = np.concatenate([pending, resampler.flush()], axis=1)
    for rest in np.split(pending[0], range(size, pending.shape[1], size)):
        if len(rest):
            by_segment.append(tag(tagger, torch.from_numpy(rest)))
    seconds = num_samples / sample_rate
    return Activity(
        sounds_of_audioset(),
        np.stack(by_segment, axis=1),
        float(SEGMENT_SECONDS),
        seconds,
        threshold,
    )


@torch.inference_mode()
def tag(tagger: Tagger, segment: Tensor) -> NDArray[np.float32]:
    """(t,) at the tagger's rate, at most SEGMENT_SECONDS, padded with zeros, to probabilities (527,); 0 for
    silence."""
    if not segment.any():
        return np.zeros(len(sounds_of_audioset()), np.float32)
    missing = SEGMENT_SECONDS * tagger.sample_rate - len(segment)
    probabilities: NDArray[np.float32] = tagger.tagged(F.pad(segment, (0, missing))[None])[
        0
    ].numpy()
    return probabilities

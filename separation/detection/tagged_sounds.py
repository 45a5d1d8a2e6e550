"""Detection by an audio tagger: the probability of each of AudioSet's classes in every two seconds, as
in USS.

Kong et al. 2023, arXiv 2305.07447; the tagger is Cnn14 of PANNs.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from qsep.queries.networks.cnn14 import SAMPLE_RATE, Cnn14

from ..audio.resample import StreamResampler
from .activity import Activity
from .hierarchy import sounds_of_audioset

SEGMENT_SAMPLES = 2 * SAMPLE_RATE


def detect_tagged(
    tagger: Cnn14, blocks: Iterable[NDArray[np.floating]], sample_rate: int, threshold: float
) -> Activity:
    """Tags a recording in segments of two seconds, in constant memory except for the result.

    blocks: (c, t) of a recording at sample_rate, not empty.
    """
    resampler: StreamResampler | None = None
    pending = np.zeros((1, 0), np.float32)
    by_segment: list[NDArray[np.float32]] = []
    num_samples = 0
    for block in blocks:
        resampler = resampler or StreamResampler(sample_rate, SAMPLE_RATE, 1)
        mono = block.mean(axis=0, keepdims=True)
        num_samples += block.shape[-1]
        pending = np.concatenate([pending, resampler.process(mono)], axis=1)
        while pending.shape[1] >= SEGMENT_SAMPLES:
            by_segment.append(tag(tagger, torch.from_numpy(pending[0, :SEGMENT_SAMPLES])))
            pending = pending[:, SEGMENT_SAMPLES:]
    if resampler is not None:
        pending = np.concatenate([pending, resampler.flush()], axis=1)
    for rest in np.split(pending[0], range(SEGMENT_SAMPLES, pending.shape[1], SEGMENT_SAMPLES)):
        if len(rest):
            by_segment.append(tag(tagger, torch.from_numpy(rest)))
    seconds = num_samples / sample_rate
    return Activity(sounds_of_audioset(), np.stack(by_segment, axis=1), 2.0, seconds, threshold)


@torch.inference_mode()
def tag(tagger: Cnn14, segment: Tensor) -> NDArray[np.float32]:
    """(t,) at SAMPLE_RATE, t <= SEGMENT_SAMPLES, padded with zeros, to probabilities (527,); 0 for
    silence."""
    if not segment.any():
        return np.zeros(len(sounds_of_audioset()), np.float32)
    whole = F.pad(segment, (0, SEGMENT_SAMPLES - len(segment)))
    probabilities: NDArray[np.float32] = tagger(whole[None])[1][0].numpy()
    return probabilities

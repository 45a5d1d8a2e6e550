"""Detection by a separator of sound classes: see `inference.class_shares`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..inference.class_shares import STEP_SECONDS, step_shares, window_probabilities, windows
from ..interface import Separator
from .activity import Activity
from .hierarchy import Sound


def detect_classes(
    separator: Separator,
    sounds: Sequence[Sound],
    blocks: Iterable[NDArray[np.floating]],
    sample_rate: int,
    threshold: float,
) -> Activity:
    """Detects a separator's classes in a recording, in constant memory except for the result.

    blocks: (c, t) of a recording at sample_rate, not empty; sounds: one for each class.
    """
    step = round(STEP_SECONDS * separator.sample_rate)
    probabilities = np.zeros((len(sounds), 0), np.float32)
    num_samples = 0
    for start, mixture in windows(blocks, sample_rate, separator.sample_rate):
        window_result = window_probabilities(step_shares(separator, mixture, step)).numpy()
        first = start // step
        missing = first + window_result.shape[1] - probabilities.shape[1]
        probabilities = np.pad(probabilities, ((0, 0), (0, max(0, missing))))
        part = probabilities[:, first : first + window_result.shape[1]]
        np.maximum(part, window_result, out=part)
        num_samples = start + mixture.shape[-1]
    seconds = num_samples / separator.sample_rate
    return Activity(tuple(sounds), probabilities, STEP_SECONDS, seconds, threshold)

"""Pictures of several pictures at once, as queries for whole mixtures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qsep.queries.interface import ImageQuery
from qsep.queries.media import read_picture


def mixed_picture(pictures: Sequence[ImageQuery]) -> ImageQuery:
    """The mean of pictures, pixel by pixel and frame by frame; all of one size and number of frames.

    Mo and Morgado (2023): what aligns with all sounds of a mixture. Raises ValueError for other sizes.
    """
    frames = zip(*(query.frames for query in pictures), strict=True)
    return ImageQuery(
        *(mean_of([np.asarray(read_picture(media)) for media in frame]) for frame in frames)
    )


def mean_of(arrays: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Mean of pictures (height, width, 3), rounded."""
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise ValueError(f"pictures of different sizes cannot be mixed: {sorted(shapes)}")
    return np.mean(arrays, axis=0).round().astype(np.uint8)

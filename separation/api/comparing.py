"""Where in a picture a sound is, and which of several queries it is like.

For models whose separator compares sounds with queries, as `models/audiovisual.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from qsep.queries.interface import ImageQuery, QueryEmbedding
from qsep.queries.media import picture, read_picture, read_recording, recording

from ..audio.arrays import as_channels, as_rate
from ..audio.reader import read_mono
from .inputs import Audio, QueryLike, as_queries
from .model import Model

if TYPE_CHECKING:
    from ..interface import Likeness

MAX_SECONDS = 60.0  # of a recording that are compared


def locate(
    model: Model,
    image: str | Path | NDArray[np.uint8],
    audio: Audio,
    sample_rate: int | None = None,
) -> NDArray[np.float32]:
    """Where in a picture a sound is: similarities (h, w) in [-1, 1] of the sound to h x w equal parts.

    image: a file, or an array (height, width, 3) of uint8. The parts are those of its centre square, all of a
    square picture, see `centre_square`. audio, sample_rate: as of `Model.separate`; the first MAX_SECONDS are
    used, channels averaged. Raises ValueError for models that do not compare sounds with the parts of
    pictures, and for inputs that cannot be used.
    """
    grid = model.encoder.grid
    if grid is None or not model.separator.capabilities.compares:
        raise ValueError(
            f"{model.name or 'this model'} does not tell where in a picture a sound is: use one that was "
            "trained by a recipe as audiovisual"
        )
    likeness = compared(model, audio, model.embed([ImageQuery(centre_square(image))]), sample_rate)
    assert likeness.tokens is not None
    parts: NDArray[np.float32] = likeness.tokens[0, 0].reshape(grid).cpu().numpy()
    return parts


def similarities(
    model: Model, audio: Audio, queries: Sequence[QueryLike], sample_rate: int | None = None
) -> NDArray[np.float32]:
    """How alike a sound and each of the queries are: (len(queries),) in [-1, 1].

    The most similar label, in words or by a picture, is what the sound is recognised as. audio, sample_rate:
    as of `locate`. Raises ValueError for models that do not compare, and for inputs that cannot be used.
    """
    if not model.separator.capabilities.compares:
        raise ValueError(
            f"{model.name or 'this model'} does not compare sounds with queries: use one that was trained by "
            "a recipe as audiovisual"
        )
    whole = compared(model, audio, model.embed(as_queries(queries)), sample_rate).whole
    row: NDArray[np.float32] = whole[0].cpu().numpy()
    return row


def compared(
    model: Model, audio: Audio, embedding: QueryEmbedding, sample_rate: int | None
) -> Likeness:
    """The likeness of one sound and s queries: whole (1, s), tokens (1, s, k)."""
    sound = torch.from_numpy(mono(audio, model.separator.sample_rate, sample_rate))
    with torch.inference_mode():
        return model.separator.likeness(
            sound[None, None].to(model.device),
            embedding.map(lambda entry: entry[None]).to(model.device),
        )


def mono(audio: Audio, model_rate: int, sample_rate: int | None) -> NDArray[np.float32]:
    """The mean of the channels of at most MAX_SECONDS at model_rate in Hz: (t,)."""
    if isinstance(audio, str | Path):
        if sample_rate is not None:
            raise ValueError("sample_rate is the file's own; give it for arrays only")
        return read_mono(Path(audio), model_rate, MAX_SECONDS)
    rate = model_rate if sample_rate is None else as_rate(sample_rate)
    return read_recording(recording(as_channels(audio), rate), model_rate, MAX_SECONDS)


def centre_square(image: str | Path | NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The largest square in a picture's middle: (side, side, 3)."""
    pixels: NDArray[Any] = np.asarray(read_picture(picture(image)))
    top, left, side = square_of(*pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def square_of(height: int, width: int) -> tuple[int, int, int]:
    """Top, left and side of the largest square in the middle of a picture, in pixels."""
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side

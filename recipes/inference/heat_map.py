"""A heat map over a picture: where a sound is in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qsep.separation.api.comparing import square_of
from qsep.separation.storage.temporary import write_atomically

HEAT = np.array([[0, 0, 96], [0, 96, 255], [255, 224, 0], [255, 0, 0]], float)  # coldest first
OPACITY = 0.55
OUTSIDE = 0.4  # brightness of what is not compared


def enlarged(parts: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Similarities (h, w) of equal parts to those of pixels, (height, width), between the parts' centres
    linearly."""
    from PIL import Image

    image = Image.fromarray(np.asarray(parts, np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def hottest(parts: NDArray[np.float32], height: int, width: int) -> tuple[int, int]:
    """The pixel, right and down from the top left, of the largest similarity in a picture of this size."""
    top, left, side = square_of(height, width)
    row, column = np.unravel_index(enlarged(parts, side, side).argmax(), (side, side))
    return left + int(column), top + int(row)


def draw_heat_map(pixels: NDArray[np.uint8], parts: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A picture (height, width, 3) under colours: red where parts (h, w) are most similar, blue where least.

    The parts are those of its centre square; the rest is darkened.
    """
    top, left, side = square_of(*pixels.shape[:2])
    values = enlarged(parts, side, side)
    span = float(np.ptp(values)) or 1.0  # one colour where all parts are alike
    position = (values - values.min()) / span * (len(HEAT) - 1)
    stops = np.arange(len(HEAT))
    colours = np.stack([np.interp(position, stops, channel) for channel in HEAT.T], axis=-1)
    drawn = OUTSIDE * pixels
    square = (slice(top, top + side), slice(left, left + side))
    drawn[square] = (1 - OPACITY) * pixels[square] + OPACITY * colours
    return drawn.round().astype(np.uint8)


def write_heat_map(
    pixels: NDArray[np.uint8],
    parts: NDArray[np.float32],
    path: Path,
    commit: Callable[[Path, Path], object] = os.replace,
) -> None:
    """Write the picture of `draw_heat_map` as PNG. commit: renames the finished file to its name."""
    from PIL import Image

    image = Image.fromarray(draw_heat_map(pixels, parts))
    write_atomically(path, lambda temporary: image.save(temporary, format="PNG"), commit)

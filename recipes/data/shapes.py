"""Pictures of coloured shapes, each kind of which stands for a kind of sound in synthetic.py.

For audio-visual training and its measurement without videos: where a shape is in a picture is known. All
variation comes from a generator.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIZE = 96  # of a picture's sides, in pixels
LOW, HIGH = 0.13, 0.19  # half of a shape's width, as a share of the side
HUE_JITTER = 0.03
TRIES = 1000  # to find room for a shape

Form = Callable[[NDArray[np.floating], NDArray[np.floating]], NDArray[np.bool_]]

# From coordinates, right and down, in half widths of the shape to whether it covers them.
FORMS: dict[str, Form] = {
    "circle": lambda x, y: np.hypot(x, y) <= 1,
    "square": lambda x, y: np.maximum(abs(x), abs(y)) <= 0.9,
    "triangle": lambda x, y: (y <= 0.9) & (2 * abs(x) <= y + 1),
    "cross": lambda x, y: (np.minimum(abs(x), abs(y)) <= 0.35) & (np.maximum(abs(x), abs(y)) <= 1),
    "ring": lambda x, y: abs(np.hypot(x, y) - 0.75) <= 0.25,
}
# The form and the hue (0 red, 1/3 green, 2/3 blue) of each kind of sound.
LOOKS = {
    "bass_drum": ("circle", 0.0),
    "clock_tick": ("square", 0.15),
    "flute": ("triangle", 0.35),
    "rain": ("cross", 0.6),
    "snare_drum": ("ring", 0.83),
}


@dataclass(frozen=True)
class Scene:
    """picture: (SIZE, SIZE, 3) uint8. regions: by label, the pixels of its shape, (SIZE, SIZE) bool."""

    picture: NDArray[np.uint8]
    regions: Mapping[str, NDArray[np.bool_]]


def draw_scene(labels: Sequence[str], generator: np.random.Generator) -> Scene:
    """A picture with a shape for each label, at random places that do not touch, on a grey ground.

    Sizes, brightness, hue and the ground vary. Raises ValueError for labels without a look, and for so many
    that there is no room.
    """
    picture = ground(generator)
    regions: dict[str, NDArray[np.bool_]] = {}
    boxes: list[tuple[float, float, float]] = []
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    for label in labels:
        if label not in LOOKS:
            raise ValueError(f"no shape stands for {label!r}; known: {', '.join(LOOKS)}")
        form, hue = LOOKS[label]
        right, down, half = free_box(boxes, generator)
        boxes.append((right, down, half))
        regions[label] = FORMS[form]((columns - right) / half, (rows - down) / half)
        colour = colorsys.hsv_to_rgb(
            (hue + generator.uniform(-HUE_JITTER, HUE_JITTER)) % 1,
            generator.uniform(0.75, 1),
            generator.uniform(0.6, 1),
        )
        picture[regions[label]] = 255 * np.array(colour)
    picture += generator.normal(0, 4, picture.shape)
    return Scene(picture.clip(0, 255).round().astype(np.uint8), regions)


def ground(generator: np.random.Generator) -> NDArray[np.float64]:
    """A grey that changes slowly from corner to corner: (SIZE, SIZE, 3), 0 to 255."""
    corners = generator.uniform(40, 215, (2, 2))
    right = np.linspace(0, 1, SIZE)
    across = corners[:, :1] * (1 - right) + corners[:, 1:] * right
    grey = across[0] * (1 - right[:, None]) + across[1] * right[:, None]
    return np.repeat(grey[..., None], 3, axis=2)


def free_box(
    boxes: Sequence[tuple[float, float, float]], generator: np.random.Generator
) -> tuple[float, float, float]:
    """Centre, right and down, and half width of a square in the picture that overlaps no other, in pixels."""
    for _ in range(TRIES):
        half = SIZE * generator.uniform(LOW, HIGH)
        right, down = generator.uniform(half, SIZE - half, 2)
        if all(max(abs(right - r), abs(down - d)) > half + h for r, d, h in boxes):
            return right, down, half
    raise ValueError(f"there is no room for {len(boxes) + 1} shapes in a picture")

"""Heat maps: where they are hot, what they leave dark, and the file."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qsep.recipes.inference.heat_map import (
    HEAT,
    OPACITY,
    OUTSIDE,
    draw_heat_map,
    enlarged,
    hottest,
    write_heat_map,
)

# 2 rows of 3 parts; the largest is that in the lower row, in the middle.
PARTS = np.array([[0.1, -0.2, 0.0], [0.3, 0.7, -0.1]], np.float32)


def test_between_the_parts_centres_similarities_are_linear() -> None:
    """Of 30 x 20 pixels the parts' centres are 4.5, 14.5, 24.5 across; edges keep the nearest part's."""
    pixels = enlarged(np.array([[0.0, 1.0, 3.0]], np.float32), 20, 30)
    assert pixels.shape == (20, 30)
    expected = np.interp(np.arange(30), [4.5, 14.5, 24.5], [0, 1, 3])
    np.testing.assert_allclose(pixels, np.tile(expected, (20, 1)), atol=1e-6)  # float32


@pytest.mark.parametrize(("height", "width"), [(60, 60), (60, 100), (90, 60)])
def test_the_hottest_pixel_is_in_the_most_similar_part_of_the_centre_square(
    height: int, width: int
) -> None:
    right, down = hottest(PARTS, height, width)
    left, top = (width - 60) // 2, (height - 60) // 2
    assert left + 20 <= right < left + 40
    assert top + 30 <= down < top + 60


def test_extremes_have_the_first_and_the_last_colour_and_the_rest_is_dark() -> None:
    grey = np.full((60, 100, 3), 100, np.uint8)
    drawn = draw_heat_map(grey, PARTS)
    right, down = hottest(PARTS, 60, 100)
    blended = (1 - OPACITY) * 100 + OPACITY * HEAT
    np.testing.assert_allclose(drawn[down, right], blended[-1], atol=0.5)
    coldest = drawn[0, 50]  # the upper part in the middle
    np.testing.assert_allclose(coldest, blended[0], atol=0.5)
    assert (drawn[:, :20] == round(OUTSIDE * 100)).all()
    assert (drawn[:, 80:] == round(OUTSIDE * 100)).all()
    assert (grey == 100).all()


def test_a_map_without_contrast_is_of_one_colour() -> None:
    drawn = draw_heat_map(np.full((9, 9, 3), 50, np.uint8), np.ones((3, 3), np.float32))
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) == 1


def test_the_file_holds_what_is_drawn(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 30, 3), dtype=np.uint8)
    write_heat_map(pixels, PARTS, tmp_path / "heat.png")
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "heat.png")), draw_heat_map(pixels, PARTS)
    )

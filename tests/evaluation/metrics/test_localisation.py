"""Scores of heat maps against counts by hand."""

import numpy as np
import pytest

from qsep.evaluation.metrics.localisation import consensus_iou, points_inside

# 3 x 4; brought to [0, 1] by (value - 2) / 8: hot, above a half, are the three values of 7 and more.
HEAT = np.array([[2, 3, 4, 5], [6, 7, 10, 2], [3, 8, 2, 6]])


def region(*pixels: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(HEAT.shape, bool)
    for pixel in pixels:
        mask[pixel] = True
    return mask


def test_the_maximum_is_inside_or_not() -> None:
    assert points_inside(HEAT, region((1, 2)))
    assert not points_inside(HEAT, region((1, 1), (2, 1)))


def test_overlap_by_hand() -> None:
    """Hot: (1, 1), (1, 2), (2, 1). Two of them and one other: 2 / (3 + 1)."""
    assert consensus_iou(HEAT, region((1, 1), (1, 2), (0, 0))) == 2 / 4
    assert consensus_iou(HEAT, region((1, 1), (1, 2), (2, 1))) == 1
    assert consensus_iou(HEAT, region((0, 0))) == 0
    assert consensus_iou(HEAT, region((1, 2)), threshold=0.9) == 1


def test_weights_of_annotators_count_by_their_sum() -> None:
    """g is 1 at (1, 2), 0.5 at (1, 1), 0.5 at (0, 0): 1.5 of 2, and (2, 1) is hot where nobody marked."""
    weights = np.zeros(HEAT.shape)
    weights[1, 2], weights[1, 1], weights[0, 0] = 1, 0.5, 0.5
    assert consensus_iou(HEAT, weights) == 1.5 / (2 + 1)


def test_a_map_without_contrast_is_nowhere_hot() -> None:
    assert consensus_iou(np.full((2, 3), 5.0), np.ones((2, 3))) == 0


def test_other_shapes_and_empty_places_are_refused() -> None:
    with pytest.raises(ValueError, match=r"heat map \(3, 4\) and region \(4, 3\)"):
        points_inside(HEAT, np.ones((4, 3)))
    with pytest.raises(ValueError, match="the region has no pixels"):
        consensus_iou(HEAT, region())

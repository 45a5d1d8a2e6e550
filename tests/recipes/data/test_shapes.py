"""Pictures of shapes: where they are is known, they do not touch, and they look like their kind."""

import colorsys

import numpy as np
import pytest

from qsep.recipes.data.shapes import FORMS, HIGH, HUE_JITTER, LOOKS, LOW, SIZE, draw_scene
from qsep.recipes.data.synthetic import KINDS


def test_every_kind_of_sound_has_a_look_of_its_own() -> None:
    assert LOOKS.keys() == KINDS.keys()
    assert {form for form, _ in LOOKS.values()} == FORMS.keys()
    hues = sorted(hue for _, hue in LOOKS.values())
    gaps = np.diff([*hues, 1 + hues[0]])
    assert gaps.min() > 4 * HUE_JITTER


@pytest.mark.parametrize("label", LOOKS)
def test_the_place_has_the_colour_of_the_kind_and_the_rest_is_grey(label: str) -> None:
    for seed in range(5):
        scene = draw_scene([label], np.random.default_rng(seed))
        assert scene.picture.shape == (SIZE, SIZE, 3)
        assert scene.picture.dtype == np.uint8
        region = scene.regions[label]
        inside = scene.picture[region].mean(axis=0) / 255
        hue, saturation, _ = colorsys.rgb_to_hsv(*inside)
        distance = abs((hue - LOOKS[label][1] + 0.5) % 1 - 0.5)
        assert distance < HUE_JITTER + 0.02  # noise of the picture
        assert saturation > 0.6
        assert np.ptp(scene.picture[~region].mean(axis=0)) < 1


def test_shapes_have_their_areas() -> None:
    """Of the square of side 2: pi / 4, 0.81, the triangle's 1.9 x 1.9 / 4 / 2, the cross's, the ring's."""
    cross = 0.35 * 2 * 2 * 2 - (0.35 * 2) ** 2
    ring = np.pi * (1 - 0.25)
    areas = {
        "circle": np.pi,
        "square": 1.8**2,
        "triangle": 1.9**2 / 2,
        "cross": cross,
        "ring": ring,
    }
    y, x = np.mgrid[-1:1:2001j, -1:1:2001j]
    for form, area in areas.items():
        # 1e-2: pixels at the edge, of lengths up to 8 at a step of 1e-3
        assert FORMS[form](x, y).mean() * 4 == pytest.approx(area, abs=1e-2)


def test_shapes_of_a_scene_do_not_touch() -> None:
    for seed in range(50):
        scene = draw_scene(["flute", "rain", "bass_drum"], np.random.default_rng(seed))
        covered = sum(region.astype(int) for region in scene.regions.values())
        assert np.max(covered) == 1
        for region in scene.regions.values():
            rows, columns = region.nonzero()
            width = max(np.ptp(rows), np.ptp(columns)) + 1
            assert 2 * LOW * SIZE * 0.85 < width <= 2 * HIGH * SIZE + 1


def test_a_scene_is_a_function_of_its_generator() -> None:
    first, again, other = (draw_scene(["flute"], np.random.default_rng(s)) for s in (3, 3, 4))
    np.testing.assert_array_equal(first.picture, again.picture)
    assert (first.picture != other.picture).any()


def test_unknown_kinds_and_too_many_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="no shape stands for 'dog'; known: bass_drum, clock_tick"):
        draw_scene(["dog"], np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"no room for \d+ shapes"):
        draw_scene(["flute"] * 40, np.random.default_rng(0))

"""Mixtures of shapes that sound: each source has a picture of its shape, and the mixture one of all."""

import dataclasses

import numpy as np
import pytest
import torch

from qsep.queries.interface import ImageQuery
from qsep.queries.media import read_picture
from qsep.recipes.data.mixtures.pictures import mixed_picture
from qsep.recipes.data.mixtures.shapes import ShapeMixConfig, ShapeMixtures, for_validation
from qsep.recipes.data.mixtures.synthetic import SyntheticSounds
from qsep.recipes.data.shapes import LOOKS

RATE = 4000
CONFIG = ShapeMixConfig(segment_samples=3000, silent_probability=0.5)


def mixtures(config: ShapeMixConfig = CONFIG, seed: int = 7) -> ShapeMixtures:
    return ShapeMixtures(SyntheticSounds(tuple(LOOKS), RATE), config, seed)


def pixels_of(query: object) -> np.ndarray:
    assert isinstance(query, ImageQuery)
    (frame,) = query.frames
    return np.asarray(read_picture(frame))


def test_an_item_depends_on_seed_and_number_alone() -> None:
    first, again = mixtures()[5], mixtures()[5]
    assert torch.equal(first[0], again[0])
    assert first[1:] == again[1:]
    for other in (mixtures()[6], mixtures(seed=8)[5]):
        assert not torch.equal(first[0], other[0])


def test_the_last_query_is_the_mean_of_the_pictures_and_for_the_whole_mixture() -> None:
    data = mixtures()
    batch = data.collate([data[draw] for draw in range(3)])
    assert batch.sources.shape == (3, 3, 1, 3000)
    assert batch.sources[:, 2].abs().max() == 0
    assert (batch.sources[:, :2].abs().amax(dim=(2, 3)) > 0).all()
    assert batch.sources.abs().max() <= 0.5
    assert torch.equal(batch.mixture, batch.sources.sum(dim=1))
    assert batch.queried_whole().tolist() == [[False, False, True]] * 3
    for row in batch.queries:
        first, second, mixed = (pixels_of(query).astype(float) for query in row)
        # 0.5: rounding
        np.testing.assert_allclose(mixed, (first + second) / 2, atol=0.5)
        assert (first != second).any()


def test_validation_shows_each_shape_alone_at_its_own_level() -> None:
    data = mixtures(for_validation(CONFIG))
    batch = data.collate([data[draw] for draw in range(4)])
    assert batch.whole is None
    assert batch.queried().all()
    peaks = batch.sources.abs().amax(dim=(2, 3))
    assert peaks.max() <= 0.45 + 1e-6  # of 0.9, halved
    for row in batch.queries:
        for query in row:
            saturation = np.ptp(pixels_of(query).astype(int), axis=2) > 60
            assert 0.02 < saturation.mean() < 0.16  # one shape: at most (2 * 0.19)^2


def test_silent_shapes_are_shown_as_often_as_set() -> None:
    coloured = {}
    for probability in (0.0, 1.0):
        data = mixtures(dataclasses.replace(CONFIG, silent_probability=probability))
        shares = [
            (np.ptp(pixels_of(query).astype(int), axis=2) > 60).mean()
            for draw in range(12)
            for query in data[draw][1][:2]
        ]
        coloured[probability] = np.mean(shares)
    assert coloured[1.0] / coloured[0.0] == pytest.approx(2, abs=0.5)  # 24 shapes of many sizes


def test_pictures_of_different_sizes_are_not_mixed() -> None:
    small, large = (ImageQuery(np.zeros((side, 9, 3), np.uint8)) for side in (8, 10))
    with pytest.raises(ValueError, match="pictures of different sizes cannot be mixed"):
        mixed_picture([small, large])


def test_too_few_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match=r"mix.num_sources is 6, but there are 5 labels"):
        mixtures(dataclasses.replace(CONFIG, num_sources=6))

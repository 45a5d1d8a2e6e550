"""Training items of shapes that sound: mixtures of synthetic sounds, each queried by a picture of its shape.

An item depends on (seed, draw number) alone, never on worker, rank or resumption.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from qsep.queries.interface import ImageQuery, Query
from qsep.queries.settings import check_ascending, configuration
from qsep.separation.interface import MixtureBatch

from ..shapes import draw_scene
from .items import Item, batch_of, marked_whole
from .pictures import mixed_picture
from .synthetic import SyntheticSounds


@configuration
class ShapeMixConfig:
    """Each of num_sources sounds of different kinds is multiplied by a gain uniform in `gains`, clipped to
    full scale and divided by num_sources, as of videos. silent_probability: that its picture also shows the
    shape of a kind that is not in the mixture. mixed_pictures: add a query by the mean of the sources'
    pictures, for the whole mixture, without which alignment has nothing to learn from."""

    segment_samples: int = 12287
    num_sources: int = 2
    gains: tuple[float, float] = (0.5, 1.5)
    silent_probability: float = 0.5
    mixed_pictures: bool = True

    def __post_init__(self) -> None:
        check_ascending(self, ("gains",))


class ShapeMixtures(torch.utils.data.Dataset[tuple[torch.Tensor, list[Query | None], str]]):
    """dataset[draw] is (sources (s, 1, t), s queries, id), for any draw >= 0.

    With mixed pictures there is one more source, the last, of zeros. Raises ValueError for too few labels.
    """

    def __init__(self, sounds: SyntheticSounds, config: ShapeMixConfig, seed: int) -> None:
        if config.num_sources > len(sounds.labels):
            raise ValueError(
                f"mix.num_sources is {config.num_sources}, but there are {len(sounds.labels)} labels"
            )
        self.sounds, self.config, self.seed = sounds, config, seed
        self.sample_rate = sounds.sample_rate

    def __getitem__(self, draw: int) -> tuple[torch.Tensor, list[Query | None], str]:
        config, num = self.config, self.config.num_sources
        rng = np.random.default_rng((self.seed, draw))
        labels = [self.sounds.labels[index] for index in rng.permutation(len(self.sounds.labels))]
        sources = np.zeros((num + config.mixed_pictures, 1, config.segment_samples), np.float32)
        pictures = []
        for index, label in enumerate(labels[:num]):
            sound = self.sounds.draw(label, config.segment_samples, rng)
            gain = np.float32(rng.uniform(*config.gains))
            sources[index, 0] = np.clip(gain * sound, -1, 1) / num
            shown = [label]
            if rng.random() < config.silent_probability and len(labels) > num:
                shown.append(labels[int(rng.integers(num, len(labels)))])
            pictures.append(ImageQuery(draw_scene(shown, rng).picture))
        queries: list[Query | None] = [*pictures]
        if config.mixed_pictures:
            queries.append(mixed_picture(pictures))
        return torch.from_numpy(sources), queries, f"{self.seed}-{draw}"

    def collate(self, items: list[Item]) -> MixtureBatch:
        """Items as a batch."""
        batch = batch_of(items, self.sample_rate)
        return marked_whole(batch, self.config.num_sources) if self.config.mixed_pictures else batch


def for_validation(config: ShapeMixConfig) -> ShapeMixConfig:
    """The configuration whose sources have their own levels, and pictures of their own shapes alone."""
    return dataclasses.replace(
        config, gains=(1.0, 1.0), silent_probability=0.0, mixed_pictures=False
    )

"""Training items for weak supervision: mixtures of captioned mixtures, whose parts are known by name alone.

Some items may be mixtures of single sounds instead: semi-supervised training. An item is a pure function of
(seed, draw number): never of worker, rank or resume. Mahmud et al. (2024), sec. 3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from qsep.queries.interface import Query, TextQuery
from qsep.queries.settings import configuration
from qsep.separation.interface import MixtureBatch

from ..captions.scenes import Levels, Scenes

# (sources, queries, part_of, id): one more than other data have, to whom a common collate must be open.
Item = Any


@configuration
class CaptionedMixConfig:
    """num_mixtures: that are mixed; num_sounds: of labelled recordings in each. num_phrases: slots of each
    mixture's parts; a caption that names more sounds is asked for whole. phrases: whether captions are
    taken apart at all; without, it is plain mix-and-separate of mixtures.

    supervised_share: of the items that are mixtures of num_singles single sounds, evenly spread over draws.
    single_fraction: of each label's recordings, those that may be heard alone; the others are mixed.
    """

    segment_samples: int = 131070
    num_mixtures: int = 2
    num_sounds: int = 2
    num_phrases: int = 3
    phrases: bool = True
    supervised_share: float = 0.0
    num_singles: int = 2
    single_fraction: float = 1.0
    level_db: float = 5.0
    gains: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.supervised_share and not self.single_fraction:
            raise ValueError("mix.supervised_share asks for single sounds; single_fraction is 0")

    @property
    def num_slots(self) -> int:
        parts = self.num_mixtures * self.num_phrases if self.phrases else 0
        return max(self.num_mixtures + parts, self.num_singles)

    def levels(self) -> Levels:
        return Levels(self.level_db, self.gains)

    def supervised(self, draw: int) -> bool:
        """Whether the draw-th item is a mixture of single sounds."""
        share = self.supervised_share
        return int((draw + 1) * share) > int(draw * share)


class CaptionedMixtures(torch.utils.data.Dataset[Item]):
    """dataset[draw] is (sources (s, 1, t), s queries, part_of (s,), id), of an endless list."""

    def __init__(
        self, scenes: Scenes, config: CaptionedMixConfig, sample_rate: int, seed: int
    ) -> None:
        self.scenes, self.config = scenes, config
        self.sample_rate, self.seed = sample_rate, seed

    def __getitem__(self, draw: int) -> Item:
        config = self.config
        rng = np.random.default_rng((self.seed, draw, 6))
        supervised = config.supervised(draw)
        if supervised:
            heard = self.scenes.singles(config.num_singles, config.segment_samples, rng)
        else:
            heard = self.scenes.mixtures(config.num_mixtures, config.segment_samples, rng)
        sources = np.zeros((config.num_slots, 1, config.segment_samples), np.float32)
        queries: list[Query | None] = [None] * config.num_slots
        part_of = torch.full((config.num_slots,), -1)
        for index, (waveform, name) in enumerate(heard):
            sources[index, 0] = waveform
            queries[index] = TextQuery(name)
        if config.phrases and not supervised:
            for index, (_, caption) in enumerate(heard):
                phrases = self.scenes.parse(caption)
                if len(phrases) > config.num_phrases:
                    continue
                first = len(heard) + index * config.num_phrases
                for slot, phrase in enumerate(phrases, first):
                    queries[slot], part_of[slot] = TextQuery(phrase), index
        return torch.from_numpy(sources), queries, part_of, f"{self.seed}-{draw}"

    def collate(self, items: list[Item]) -> MixtureBatch:
        sources = torch.stack([item[0] for item in items])
        queries, ids = [item[1] for item in items], [item[3] for item in items]
        part_of = torch.stack([item[2] for item in items])
        mixture = sources.sum(dim=1)
        return MixtureBatch(mixture, sources, queries, self.sample_rate, ids, part_of)

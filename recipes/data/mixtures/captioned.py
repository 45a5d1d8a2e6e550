"""Training items for weak supervision: mixtures of captioned mixtures, whose single sounds are not available.

A share of the items may be mixtures of single sounds, for semi-supervised training. An item depends on (seed,
draw number) alone, never on worker, rank or resumption. Mahmud et al. (2024), sec. 3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from qsep.queries.interface import Query, TextQuery
from qsep.queries.settings import check_ascending, configuration
from qsep.separation.interface import MixtureBatch

from ..captions.scenes import Levels, Scenes

# (sources, queries, part_of, id). Any: other data sets have no part_of, and all share one loader.
Item = Any


@configuration
class CaptionedMixConfig:
    """num_mixtures: captioned mixtures in an item. num_sounds: labelled recordings in each of them.
    num_phrases: query slots for the phrases of each caption; a caption of more phrases is not split.
    phrases: whether captions are split at all; without, this is plain mix-and-separate on mixtures.

    supervised_share: share of items that are mixtures of num_singles single sounds, evenly spread over draws.
    single_fraction: share of each label's recordings used as single sounds; the others are mixed.
    level_db, gains: see `Levels`. Raises ValueError for supervised items without single sounds.
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
        check_ascending(self, ("gains",))
        if self.supervised_share and not self.single_fraction:
            raise ValueError("mix.supervised_share needs single sounds, but single_fraction is 0")

    @property
    def num_slots(self) -> int:
        """Query slots of an item."""
        parts = self.num_mixtures * self.num_phrases if self.phrases else 0
        return max(self.num_mixtures + parts, self.num_singles)

    def levels(self) -> Levels:
        """The levels of sounds."""
        return Levels(self.level_db, self.gains)

    def supervised(self, draw: int) -> bool:
        """Whether the draw-th item is a mixture of single sounds."""
        share = self.supervised_share
        return int((draw + 1) * share) > int(draw * share)


class CaptionedMixtures(torch.utils.data.Dataset[Item]):
    """dataset[draw] is (sources (s, 1, t), s queries, part_of (s,), id), for any draw >= 0.

    part_of: for the phrase of a caption, the index of the source that it is part of; else -1. Its own source
    is silent.
    """

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
            sounds = self.scenes.singles(config.num_singles, config.segment_samples, rng)
        else:
            sounds = self.scenes.mixtures(config.num_mixtures, config.segment_samples, rng)
        sources = np.zeros((config.num_slots, 1, config.segment_samples), np.float32)
        queries: list[Query | None] = [None] * config.num_slots
        part_of = torch.full((config.num_slots,), -1)
        for index, (waveform, name) in enumerate(sounds):
            sources[index, 0] = waveform
            queries[index] = TextQuery(name)
        if config.phrases and not supervised:
            for index, (_, caption) in enumerate(sounds):
                phrases = self.scenes.parse(caption)
                if len(phrases) > config.num_phrases:
                    continue
                first = len(sounds) + index * config.num_phrases
                for slot, phrase in enumerate(phrases, first):
                    queries[slot], part_of[slot] = TextQuery(phrase), index
        return torch.from_numpy(sources), queries, part_of, f"{self.seed}-{draw}"

    def collate(self, items: list[Item]) -> MixtureBatch:
        """Items as a batch; its mixtures are exactly the sums of their sources."""
        sources = torch.stack([item[0] for item in items])
        queries, ids = [item[1] for item in items], [item[3] for item in items]
        part_of = torch.stack([item[2] for item in items])
        mixture = sources.sum(dim=1)
        return MixtureBatch(mixture, sources, queries, self.sample_rate, ids, part_of)

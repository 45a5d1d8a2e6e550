"""A data set of mixtures with effects: the same for every kind of data.

Effects change the sources, and the mixture is their sum. They have random numbers of their own, a function of
(seed, draw number) alone, so the data set itself draws the same items as without effects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from qsep.separation.interface import MixtureBatch

from .beats import synchronous
from .config import EffectsConfig
from .devices import random_device, recorded
from .levels import at_powers, leveled, within_peak
from .placing import in_the_open, placed
from .queries import read_paraphrases, varied

if TYPE_CHECKING:
    from ..mixtures.interface import DrawnMixtures

STREAM, QUERY_STREAM = 7, 8  # of random numbers, beside those of the data sets


class TreatedMixtures(torch.utils.data.Dataset[Any]):
    """dataset[draw] is an item of `mixtures` with effects: sources (s, m, t), s queries, …, id.

    With effects on whole mixtures there is one source more, the last, without a query: what they add.
    """

    def __init__(self, mixtures: DrawnMixtures, config: EffectsConfig) -> None:
        self.mixtures, self.config = mixtures, config
        self.sample_rate, self.seed = mixtures.sample_rate, mixtures.seed
        self.paraphrases = read_paraphrases(config.queries.paraphrases)

    def __getitem__(self, draw: int) -> Any:
        item: Any = self.mixtures[draw]  # captioned mixtures have part_of besides
        sources, queries, *rest = item
        rng = np.random.default_rng((self.seed, draw, STREAM))
        sounding = sources[:, 0].any(dim=1)
        num_slots = len(sources) + bool(self.config.device.mixture_probability)
        num_microphones = self.config.array.num_microphones
        treated = torch.zeros(num_slots, num_microphones, sources.shape[-1])
        if sounding.any():
            changed, added = self.treat(sources[sounding, 0].numpy(), rng)
            treated[: len(sources)][sounding] = torch.from_numpy(changed)
            if added is not None:
                treated[-1, 0] = torch.from_numpy(added)
        rng = np.random.default_rng((self.seed, draw, QUERY_STREAM))
        dry = sources[:, 0].numpy()
        queries = varied(queries, dry, self.config.queries, self.paraphrases, self.sample_rate, rng)
        queries = [*queries, *[None] * (num_slots - len(sources))]
        if len(rest) > 1:  # part_of: the new source is no part of another
            rest[0] = torch.cat([rest[0], rest[0].new_full((num_slots - len(sources),), -1)])
        return treated, queries, *rest

    def treat(
        self, sources: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The effects on the sources (s, t) of one mixture, none of them silent: (s, m, t) float32.

        Also what a device of the whole mixture adds to their sum, (t,), or None.
        """
        config, rate = self.config, self.sample_rate
        changed = sources
        if rng.random() < config.beats.probability:
            changed = synchronous(changed, config.beats, rate)
        chosen = rng.random(len(sources)) < config.device.source_probability
        changed = np.stack(
            [
                recorded(source, random_device(config.device, rng), rate) if has_device else source
                for source, has_device in zip(changed, chosen, strict=True)
            ]
        )
        if rng.random() < config.room.probability:
            received = placed(changed, config.room, rate, rng, config.array)
        else:
            received = in_the_open(changed, config.array, rate, rng)
        changed = leveled(at_powers(received, sources[:, None]), config.levels, rate, rng)
        added = None
        if rng.random() < config.device.mixture_probability:  # of one channel
            device = random_device(config.device, rng)
            changed = device.banded(changed[:, 0], rate)[:, None]
            mixture = changed[:, 0].sum(axis=0)
            added = device.distorted(mixture, rate) - mixture
        if config.levels.max_peak:
            parts = changed if added is None else np.concatenate([changed, added[None, None]])
            parts = within_peak(parts, config.levels.max_peak)
            changed, added = parts[: len(changed)], None if added is None else parts[-1, 0]
        return changed, added

    def collate(self, items: list[Any]) -> MixtureBatch:
        """Items as a batch; its mixtures are exactly the sums of their sources."""
        return self.mixtures.collate(items)

"""Training items for separators over sound classes: mixtures queried by class, by family or by union.

An item depends on (seed, draw number) alone, never on worker, rank or resumption.
Mix-and-separate training: Zhao et al., "The sound of pixels" (2018).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

import numpy as np
import torch

from qsep.queries.interface import ClassQuery, Query
from qsep.queries.settings import check_ascending, check_weights, configuration
from qsep.separation.interface import MixtureBatch

from .augment import AugmentConfig, Filter, change_speed, filtered, random_filter
from .clips import Take
from .items import Item, Sound, Unmixed, batch_of
from .meeting import Meetings
from .mix_and_separate import active_stretch, cut_or_pad, drawn_index, rms


@configuration
class ClassMixConfig:
    """The composition of mixtures and their queries.

    num_sources_weights: relative frequencies of 2, 3, … sources. level_db: each sound's level is uniform in
    [-level_db, level_db]. family_probability: that all sounds are of one family (hard mixtures).
    group_probability: that one source consists of two sounds; half of these are queried as a family.
    background_probability: of a sound without a query, background_db below the others.
    num_queries: query slots of an item; up to max_absent of the free ones query absent classes, half of them
    from the family of a class that is present. families: classes by family. overlaps: classes that include
    the ones listed with them and are never mixed with these. start_padding: probability that a sound shorter
    than the segment begins with it, instead of at a random time. favoured: classes of which a mixture
    contains one with favoured_probability. lowpass_hz: range of the cutoff of a random low-pass filter.
    """

    segment_samples: int = 101760
    num_sources_weights: tuple[float, ...] = (0.5, 0.33, 0.12, 0.05)
    level_db: float = 5.0
    family_probability: float = 0.33
    group_probability: float = 0.25
    background_probability: float = 0.15
    background_db: tuple[float, float] = (15.0, 30.0)
    num_queries: int = 6
    max_absent: int = 2
    start_padding: float = 0.5
    lowpass_probability: float = 0.3
    lowpass_hz: tuple[float, float] = (3500.0, 12000.0)
    favoured: tuple[str, ...] = ()
    favoured_probability: float = 0.6
    families: dict[str, list[str]] = field(default_factory=dict)
    overlaps: dict[str, list[str]] = field(default_factory=dict)
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        check_weights(self, "num_sources_weights")
        check_ascending(self, ("background_db", "lowpass_hz"))


class ClassSounds:
    """Random stretches of recordings, uniform over the groups of a class, then over the takes of a group.

    takes: recordings by class, at sample_rate in Hz.
    """

    def __init__(
        self, takes: Mapping[str, Sequence[Take]], config: ClassMixConfig, sample_rate: int
    ):
        self.config, self.sample_rate = config, sample_rate
        self.labels = tuple(sorted(takes))
        self.by_group: dict[str, list[list[np.ndarray]]] = {}
        for label, recordings in takes.items():
            groups: dict[str, list[np.ndarray]] = {}
            for take in recordings:
                groups.setdefault(take.group, []).append(take.waveform)
            self.by_group[label] = list(groups.values())

    def draw(
        self, label: str, num_samples: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, Filter]:
        """A random sound of the label, (num_samples,) float32, and the filter that it is to go through."""
        augment = self.config.augment
        sound = self.stretch(label, num_samples, rng)
        if rng.random() < augment.second_probability:
            second = self.stretch(label, num_samples, rng)
            level_db = rng.uniform(-augment.second_db, augment.second_db)
            sound = sound + second * np.float32(10 ** (level_db / 20) * rms(sound) / rms(second))
        cutoff_hz = None
        if rng.random() < self.config.lowpass_probability:
            cutoff_hz = float(np.exp(rng.uniform(*np.log(self.config.lowpass_hz))))
        return sound, random_filter(rng, self.sample_rate, augment, cutoff_hz)

    def stretch(self, label: str, num_samples: int, rng: np.random.Generator) -> np.ndarray:
        """A random stretch of a recording of the label at a random speed: (num_samples,) float32."""
        groups = self.by_group[label]
        takes = groups[rng.integers(len(groups))]
        waveform = takes[rng.integers(len(takes))]
        augment, semitones = self.config.augment, 0.0
        if rng.random() < augment.speed_probability:
            semitones = rng.uniform(-augment.speed_semitones, augment.speed_semitones)
        num_needed = int(np.ceil(num_samples * 2 ** (semitones / 12))) + 16
        cut = active_stretch(waveform, num_needed, rng).astype(np.float32) / 32768
        if semitones:
            cut = change_speed(cut, semitones)
        if len(cut) < num_samples and rng.random() < self.config.start_padding:
            return np.pad(cut, (0, num_samples - len(cut)))
        return cut_or_pad(cut, num_samples, rng)


class ClassMixtures(torch.utils.data.Dataset[Item]):
    """dataset[draw] is (sources (s, 1, t), s queries, id), for any draw >= 0.

    Raises ValueError for a single class, and for fewer query slots than sources.
    """

    def __init__(self, sounds: ClassSounds, config: ClassMixConfig, sample_rate: int, seed: int):
        self.sounds, self.config = sounds, config
        self.sample_rate, self.seed = sample_rate, seed
        labels = sounds.labels
        self.meetings = Meetings(labels, config.families, config.overlaps)
        if len(labels) < 2:
            raise ValueError(f"only recordings of {', '.join(labels)}: mixtures need two labels")
        if config.num_queries < 1 + len(config.num_sources_weights):
            raise ValueError(f"mix.num_queries is {config.num_queries}, fewer than the sources")

    def __getitem__(self, draw: int) -> Item:
        mixture = self.unmixed(draw)
        length = self.config.segment_samples
        sources = np.zeros((self.config.num_queries, 1, length), np.float32)
        for sound in mixture.sounds:
            waveform = filtered(sound.waveform, sound.filter, self.sample_rate)
            sources[sound.slot, 0] += waveform / rms(waveform) * np.float32(sound.gain)
        sources *= mixture.gain
        return torch.from_numpy(sources), mixture.queries, mixture.id

    def unmixed(self, draw: int) -> Unmixed:
        """The sounds of the draw-th item before they are filtered and summed."""
        config, rng = self.config, np.random.default_rng((self.seed, draw))
        odds = config.num_sources_weights
        num_sounds = 2 + drawn_index(odds, rng)
        groups = self.plan(num_sounds, rng)
        length = config.segment_samples
        sounds: list[Sound] = []
        queries: list[Query | None] = [None] * config.num_queries
        used: list[str] = []
        for index, (labels, wanted) in enumerate(groups):
            for label in labels:
                level_db = rng.uniform(-config.level_db, config.level_db)
                drawn = self.sounds.draw(label, length, rng)
                sounds.append(Sound(index, *drawn, 10 ** (level_db / 20)))
            queries[index] = ClassQuery(wanted)
            used += wanted
        free = len(groups)
        background = rng.random() < config.background_probability
        if background and free < config.num_queries and self.meetings.unused(used):
            label = self.meetings.another(used, self.sounds.labels, rng)
            level_db = -rng.uniform(*config.background_db)
            drawn = self.sounds.draw(label, length, rng)
            sounds.append(Sound(free, *drawn, 10 ** (level_db / 20)))
            used.append(label)
            free += 1
        gain = 0.1 * 10 ** (rng.uniform(-20, 0) / 20)
        for index in range(free, min(config.num_queries, free + config.max_absent)):
            if not self.meetings.unused(used):
                break
            near: set[str] = set()
            if rng.random() < 0.5:
                near = near.union(*(self.meetings.kin[label] for label in used))
            absent = self.meetings.another(used, sorted(near) or self.sounds.labels, rng)
            queries[index] = ClassQuery([absent])
            used.append(absent)
        return Unmixed(sounds, gain, queries, f"{self.seed}-{draw}")

    def plan(self, num_sounds: int, rng: np.random.Generator) -> list[tuple[list[str], list[str]]]:
        """(labels that sound, classes that are queried) of each source."""
        config, labels = self.config, self.sounds.labels
        families = sorted(self.meetings.families)
        if config.favoured and rng.random() < config.favoured_probability:
            first = config.favoured[rng.integers(len(config.favoured))]
            plan = [([first], [first])]
        elif families and rng.random() < config.group_probability:
            if rng.random() < 0.5:
                members = self.meetings.families[families[rng.integers(len(families))]]
                first = members[rng.integers(len(members))]
                second = self.meetings.another([first], members, rng)
                wanted = list(members)
            else:
                first = labels[rng.integers(len(labels))]
                second = (
                    self.meetings.another([first], labels, rng)
                    if self.meetings.unused([first])
                    else first
                )
                wanted = list(dict.fromkeys([first, second]))
            plan = [([first, second], wanted)]
        else:
            first = labels[rng.integers(len(labels))]
            plan = [([first], [first])]
        pool: Sequence[str] = labels
        if rng.random() < config.family_probability:
            pool = sorted(self.meetings.kin[first])
        used = list(plan[0][1])
        while len(plan) < num_sounds and self.meetings.unused(used):
            label = self.meetings.another(used, pool, rng)
            plan.append(([label], [label]))
            used.append(label)
        return plan

    def collate(self, items: list[Item]) -> MixtureBatch:
        """Items as a batch."""
        return batch_of(items, self.sample_rate)

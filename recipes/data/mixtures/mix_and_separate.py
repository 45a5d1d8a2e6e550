"""Training items: mixtures of recordings of different labels, each with a query that is one of its phrases.

An item depends on (seed, draw number) alone, never on worker, rank or resumption.
Mix-and-separate training: Zhao et al., "The sound of pixels" (2018).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Protocol

import numpy as np
import torch

from qsep.queries.interface import Query, TextQuery
from qsep.queries.settings import check_ascending, check_weights, configuration
from qsep.separation.interface import MixtureBatch

from ..wording import PhraseBook
from .augment import AugmentConfig, change_speed, equalised_and_reverberated, random_filter
from .items import Item, Sound, Unmixed, batch_of
from .meeting import Meetings


@configuration
class MixConfig:
    """num_sources_weights: relative frequencies of 2, 3 and 4 sources. level_db: each source's level is
    uniform in [-level_db, level_db], so any two differ by at most twice that. gains: (lowest, highest),
    used instead of level_db: each source is multiplied by a gain between them, clipped to full scale and
    divided by the number of sources (Dong et al. 2023). num_queries: query slots of an item; up to
    max_absent of the free ones query absent sounds, with other_probability a sound outside the phrase
    book's labels. noise_db: (lowest, highest) level, relative to its source, of an unlabelled sound that is
    added to each source, as noise-invariant training expects; empty for clean sources.

    families: labels by family. family_probability: that all sounds of a mixture are of one family, as far as
    it has enough. overlaps: labels that contain the ones listed with them, and never meet these; a mixture
    has fewer sources if too few labels may meet.
    """

    segment_samples: int = 101760
    num_sources_weights: tuple[float, ...] = (0.45, 0.35, 0.2)
    level_db: float = 5.0
    gains: tuple[float, ...] = ()
    noise_db: tuple[float, ...] = ()
    num_queries: int = 5
    max_absent: int = 2
    other_probability: float = 0.2
    family_probability: float = 0.0
    families: dict[str, list[str]] = field(default_factory=dict)
    overlaps: dict[str, list[str]] = field(default_factory=dict)
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        check_weights(self, "num_sources_weights")
        check_ascending(self, ("gains", "noise_db"))


class Sounds(Protocol):
    """A source of single sounds: recordings in memory, or a synthesiser."""

    labels: tuple[str, ...]

    def draw(self, label: str, num_samples: int, rng: np.random.Generator) -> np.ndarray:
        """A stretch of a sound of the label, not silent: (num_samples,) float32."""
        ...


class RecordedSounds:
    """`Sounds` from recordings: random stretches at random speeds, at times two of one label at once."""

    def __init__(self, by_label: dict[str, list[np.ndarray]], augment: AugmentConfig) -> None:
        self.by_label = by_label
        self.labels = tuple(by_label)
        self.augment = augment

    def draw(self, label: str, num_samples: int, rng: np.random.Generator) -> np.ndarray:
        """See `Sounds.draw`."""
        first = self.stretch(label, num_samples, rng)
        if rng.random() >= self.augment.second_probability:
            return first
        second = self.stretch(label, num_samples, rng)
        level_db = rng.uniform(-self.augment.second_db, self.augment.second_db)
        return first + second * np.float32(10 ** (level_db / 20) * rms(first) / rms(second))

    def stretch(self, label: str, num_samples: int, rng: np.random.Generator) -> np.ndarray:
        """A random stretch of a recording of the label at a random speed: (num_samples,) float32."""
        clips = self.by_label[label]
        waveform = clips[rng.integers(len(clips))]
        semitones = 0.0
        if rng.random() < self.augment.speed_probability:
            semitones = rng.uniform(-self.augment.speed_semitones, self.augment.speed_semitones)
        num_needed = int(np.ceil(num_samples * 2 ** (semitones / 12))) + 16
        stretch = active_stretch(waveform, num_needed, rng)
        if semitones:
            stretch = change_speed(stretch, semitones)
        return cut_or_pad(stretch, num_samples, rng)


def rms(waveform: np.ndarray) -> np.float32:
    """Root mean square of a waveform (t,), never zero."""
    return np.float32(np.sqrt(np.mean(np.square(waveform)) + 1e-12))


def at_level(waveform: np.ndarray, level_db: float) -> np.ndarray:
    """The waveform (t,) at a root mean square of level_db."""
    leveled: np.ndarray = waveform * np.float32(10 ** (level_db / 20)) / rms(waveform)
    return leveled


def drawn_index(weights: Sequence[float], rng: np.random.Generator) -> int:
    """An index into weights, which are relative frequencies."""
    return int(rng.choice(len(weights), p=np.divide(weights, sum(weights))))


def mean_power(waveform: np.ndarray) -> float:
    """Mean square of a waveform (t,) of floats, or of integers, whose own type would overflow."""
    return float(np.mean(np.square(waveform, dtype=np.float32)))


def active_stretch(waveform: np.ndarray, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """A random stretch with at least a tenth of the recording's mean power: (num_samples,).

    A shorter recording is returned whole. After eight tries the stretch around the loudest sample is taken.
    """
    spare = len(waveform) - num_samples
    if spare <= 0:
        return waveform
    min_power = 0.1 * mean_power(waveform)
    for _ in range(8):
        start = int(rng.integers(spare + 1))
        cut = waveform[start : start + num_samples]
        if mean_power(cut) >= min_power:
            return cut
    loudest = int(np.square(waveform, dtype=np.float32).argmax())
    start = min(max(0, loudest - num_samples // 2), spare)
    return waveform[start : start + num_samples]


def cut_or_pad(stretch: np.ndarray, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Cut to num_samples, or pad with zeros around a random position: (num_samples,) float32."""
    if len(stretch) >= num_samples:
        return stretch[:num_samples]
    placed = np.zeros(num_samples, np.float32)
    start = rng.integers(num_samples - len(stretch) + 1)
    placed[start : start + len(stretch)] = stretch
    return placed


def check_numbers(config: MixConfig, num_labels: int) -> None:
    """Raise ValueError for fewer query slots or labels than the largest mixture needs."""
    max_sources = 1 + len(config.num_sources_weights)
    if max_sources > config.num_queries:
        raise ValueError(
            f"mix.num_queries is {config.num_queries}, but mixtures have up to {max_sources} sources"
        )
    num_sounds = 2 * max_sources if config.noise_db else max_sources
    if num_sounds > num_labels:
        raise ValueError(
            f"mixtures of {num_sounds} different sounds, but {num_labels} labels: "
            "shorten mix.num_sources_weights"
        )


class MixAndSeparate(torch.utils.data.Dataset[tuple[torch.Tensor, list[Query | None], str]]):
    """dataset[draw] is (sources (s, 1, t), s queries, id), for any draw >= 0.

    Raises ValueError for labels without phrases, and for fewer query slots or labels than a mixture needs.
    """

    def __init__(
        self, sounds: Sounds, book: PhraseBook, config: MixConfig, sample_rate: int, seed: int
    ) -> None:
        unknown = set(sounds.labels) - set(book.labels)
        if unknown:
            raise ValueError(f"labels without wordings in the phrase book: {sorted(unknown)}")
        check_numbers(config, len(sounds.labels))
        self.sounds, self.book, self.config = sounds, book, config
        self.sample_rate, self.seed = sample_rate, seed
        self.meetings = Meetings(sounds.labels, config.families, config.overlaps)

    def __getitem__(self, draw: int) -> tuple[torch.Tensor, list[Query | None], str]:
        config = self.config
        sources = np.zeros((config.num_queries, 1, config.segment_samples), np.float32)

        def add(index: int, label: str, noise_label: str, rng: np.random.Generator) -> None:
            sources[index, 0] = self.source(label, rng)
            if noise_label:
                sources[index, 0] += self.noise(noise_label, sources[index, 0], rng)

        gain, queries = self.compose(draw, add)
        sources *= gain
        return torch.from_numpy(sources), queries, f"{self.seed}-{draw}"

    def unmixed(self, draw: int) -> Unmixed:
        """The sounds of the draw-th item before they are filtered and summed; neither gains nor noise."""
        config = self.config
        sounds: list[Sound] = []

        def add(index: int, label: str, _: str, rng: np.random.Generator) -> None:
            waveform = self.sounds.draw(label, config.segment_samples, rng)
            drawn = random_filter(rng, self.sample_rate, config.augment)
            level_db = rng.uniform(-config.level_db, config.level_db)
            sounds.append(Sound(index, waveform, drawn, 10 ** (level_db / 20)))

        return Unmixed(sounds, *self.compose(draw, add), f"{self.seed}-{draw}")

    def compose(
        self, draw: int, add: Callable[[int, str, str, np.random.Generator], None]
    ) -> tuple[float, list[Query | None]]:
        """The common gain of the draw-th item's sources, and its queries.

        add: called for each source with its index, its label and that of its noise, "" for none, and the
        generator, of which it draws all of the source's random numbers.
        """
        config = self.config
        rng = np.random.default_rng((self.seed, draw))
        odds = config.num_sources_weights
        num_sources = 2 + drawn_index(odds, rng)
        labels = [self.sounds.labels[i] for i in rng.permutation(len(self.sounds.labels))]
        kin = bool(config.family_probability) and rng.random() < config.family_probability
        per_source = 2 if config.noise_db else 1
        mixed = self.meetings.chosen(labels, per_source * num_sources, kin)
        num_sources = len(mixed) // per_source
        queries: list[Query | None] = [None] * config.num_queries
        for index, label in enumerate(mixed[:num_sources]):
            add(index, label, mixed[num_sources + index] if config.noise_db else "", rng)
            queries[index] = self.wording(self.book.phrases[label], rng)
        gain = 1 / num_sources if config.gains else 10 ** (rng.uniform(-30, 0) / 20)
        barred = self.meetings.barred(mixed)
        absent = [label for label in labels if label not in barred]
        for index in range(num_sources, min(config.num_queries, num_sources + config.max_absent)):
            other = rng.random() < config.other_probability or not absent
            if other and not self.book.other:  # books made from labels have no such phrases
                if not absent:
                    break
                other = False
            phrases = self.book.other if other else self.book.phrases[absent.pop()]
            queries[index] = self.wording(phrases, rng)
        return gain, queries

    def source(self, label: str, rng: np.random.Generator) -> np.ndarray:
        """A random augmented sound of the label at a random level: (t,) float32.

        Its root mean square is 1 at 0 dB, unless gains are used.
        """
        waveform = self.sounds.draw(label, self.config.segment_samples, rng)
        waveform = equalised_and_reverberated(waveform, rng, self.sample_rate, self.config.augment)
        if self.config.gains:
            lowest, highest = self.config.gains
            return np.clip(waveform * np.float32(rng.uniform(lowest, highest)), -1, 1)
        level_db = rng.uniform(-self.config.level_db, self.config.level_db)
        return at_level(waveform, level_db)

    def noise(self, label: str, source: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A sound of the label at a level of noise_db relative to the source: (t,) float32."""
        waveform = self.sounds.draw(label, self.config.segment_samples, rng)
        lowest, highest = self.config.noise_db
        level_db = rng.uniform(lowest, highest)
        return waveform * np.float32(10 ** (level_db / 20)) * rms(source) / rms(waveform)

    @staticmethod
    def wording(phrases: tuple[str, ...], rng: np.random.Generator) -> TextQuery:
        """A random one of the phrases."""
        return TextQuery(phrases[rng.integers(len(phrases))])

    def collate(self, items: list[Item]) -> MixtureBatch:
        """Items as a batch."""
        return batch_of(items, self.sample_rate)

"""Training items: mixtures of recordings of different labels, each asked for in some wording.

An item is a pure function of (seed, draw number): never of worker, rank or resume.
Mix-and-separate training: Zhao et al., "The sound of pixels" (2018).
"""

from __future__ import annotations

from dataclasses import field
from typing import Protocol

import numpy as np
import torch

from qsep.queries.interface import Query, TextQuery
from qsep.queries.settings import configuration
from qsep.separation.interface import MixtureBatch

from ..wording import PhraseBook
from .augment import AugmentConfig, change_speed, filter_and_place
from .items import Item, batch_of


@configuration
class MixConfig:
    """num_sources_weights: odds of 2, 3 and 4 sources. level_db: each source's level is uniform in
    [-level_db, level_db], so any two differ by at most twice that. gains: lowest and highest, to take
    the place of level_db: each source, as recorded, times a gain between them, clipped to full scale
    and divided by the number of sources (the rule of Dong et al. 2023). num_queries: slots of an item;
    those that sources leave free ask for absent sounds, max_absent at most. noise_db: lowest and highest
    level, relative to its source, of a sound of a third label that becomes part of the source unnamed
    (the noisy data that noise-invariant training is for); empty for clean sources."""

    segment_samples: int = 101760
    num_sources_weights: tuple[float, ...] = (0.45, 0.35, 0.2)
    level_db: float = 5.0
    gains: tuple[float, ...] = ()
    noise_db: tuple[float, ...] = ()
    num_queries: int = 5
    max_absent: int = 2
    other_probability: float = 0.2
    augment: AugmentConfig = field(default_factory=AugmentConfig)


class Sounds(Protocol):
    """Where single sounds come from: recordings in memory, or a synthesiser."""

    labels: tuple[str, ...]

    def draw(self, label: str, num_samples: int, rng: np.random.Generator) -> np.ndarray:
        """One stretch of a sound of the label, not silent: (t,) float32."""
        ...


class RecordedSounds:
    """Random stretches of recordings, at random speeds, at times two of one label at once."""

    def __init__(self, by_label: dict[str, list[np.ndarray]], augment: AugmentConfig) -> None:
        self.by_label = by_label
        self.labels = tuple(by_label)
        self.augment = augment

    def draw(self, label: str, num_samples: int, rng: np.random.Generator) -> np.ndarray:
        first = self.stretch(label, num_samples, rng)
        if rng.random() >= self.augment.second_probability:
            return first
        second = self.stretch(label, num_samples, rng)
        level_db = rng.uniform(-self.augment.second_db, self.augment.second_db)
        return first + second * np.float32(10 ** (level_db / 20) * rms(first) / rms(second))

    def stretch(self, label: str, num_samples: int, rng: np.random.Generator) -> np.ndarray:
        clips = self.by_label[label]
        waveform = clips[rng.integers(len(clips))]
        semitones = 0.0
        if rng.random() < self.augment.speed_probability:
            semitones = rng.uniform(-self.augment.speed_semitones, self.augment.speed_semitones)
        num_needed = int(np.ceil(num_samples * 2 ** (semitones / 12))) + 16
        stretch = active_stretch(waveform, num_needed, rng)
        if semitones:
            stretch = change_speed(stretch, semitones)
        return place(stretch, num_samples, rng)


def rms(waveform: np.ndarray) -> np.float32:
    return np.float32(np.sqrt(np.mean(np.square(waveform)) + 1e-12))


def active_stretch(waveform: np.ndarray, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """A random cut in which something sounds: at least a tenth of the recording's mean power."""
    spare = len(waveform) - num_samples
    if spare <= 0:
        return waveform
    least = 0.1 * np.dot(waveform, waveform) / len(waveform)
    for _ in range(8):
        start = int(rng.integers(spare + 1))
        cut = waveform[start : start + num_samples]
        if np.dot(cut, cut) / num_samples >= least:
            return cut
    loudest = int(np.abs(waveform).argmax())
    start = min(max(0, loudest - num_samples // 2), spare)
    return waveform[start : start + num_samples]


def place(stretch: np.ndarray, num_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Cut to num_samples, or set at a random place among zeros."""
    if len(stretch) >= num_samples:
        return stretch[:num_samples]
    placed = np.zeros(num_samples, np.float32)
    start = rng.integers(num_samples - len(stretch) + 1)
    placed[start : start + len(stretch)] = stretch
    return placed


class MixAndSeparate(torch.utils.data.Dataset[tuple[torch.Tensor, list[Query | None], str]]):
    """dataset[draw] is (sources (s, 1, t), s queries, id), the draw-th item of an endless list."""

    def __init__(
        self, sounds: Sounds, book: PhraseBook, config: MixConfig, sample_rate: int, seed: int
    ) -> None:
        unknown = set(sounds.labels) - set(book.labels)
        if unknown:
            raise ValueError(f"labels without wordings in the phrase book: {sorted(unknown)}")
        most = 1 + len(config.num_sources_weights)
        if most > config.num_queries:
            raise ValueError(f"mix.num_queries is {config.num_queries}, for {most} sources")
        most = 2 * most if config.noise_db else most
        if most > len(sounds.labels):
            raise ValueError(
                f"mixtures of {most} different sounds, but {len(sounds.labels)} labels"
            )
        self.sounds, self.book, self.config = sounds, book, config
        self.sample_rate, self.seed = sample_rate, seed

    def __getitem__(self, draw: int) -> tuple[torch.Tensor, list[Query | None], str]:
        config = self.config
        rng = np.random.default_rng((self.seed, draw))
        odds = config.num_sources_weights
        num_sources = 2 + int(rng.choice(len(odds), p=np.divide(odds, sum(odds))))
        labels = [self.sounds.labels[i] for i in rng.permutation(len(self.sounds.labels))]
        heard = labels[: 2 * num_sources if config.noise_db else num_sources]
        sources = np.zeros((config.num_queries, 1, config.segment_samples), np.float32)
        queries: list[Query | None] = [None] * config.num_queries
        for index, label in enumerate(labels[:num_sources]):
            sources[index, 0] = self.source(label, rng)
            if config.noise_db:
                sources[index, 0] += self.noise(heard[num_sources + index], sources[index, 0], rng)
            queries[index] = self.wording(self.book.phrases[label], rng)
        sources *= 1 / num_sources if config.gains else 10 ** (rng.uniform(-30, 0) / 20)
        absent = labels[len(heard) :]
        for index in range(num_sources, min(config.num_queries, num_sources + config.max_absent)):
            other = rng.random() < config.other_probability or not absent
            if other and not self.book.other:  # labels of one's own have no phrases for the rest
                if not absent:
                    break
                other = False
            phrases = self.book.other if other else self.book.phrases[absent.pop()]
            queries[index] = self.wording(phrases, rng)
        return torch.from_numpy(sources), queries, f"{self.seed}-{draw}"

    def source(self, label: str, rng: np.random.Generator) -> np.ndarray:
        """A coloured, placed sound at a random level; root mean square 1 at 0 dB, unless gains rule."""
        waveform = self.sounds.draw(label, self.config.segment_samples, rng)
        waveform = filter_and_place(waveform, rng, self.sample_rate, self.config.augment)
        if self.config.gains:
            lowest, highest = self.config.gains
            return np.clip(waveform * np.float32(rng.uniform(lowest, highest)), -1, 1)
        level_db = rng.uniform(-self.config.level_db, self.config.level_db)
        return waveform * np.float32(10 ** (level_db / 20)) / rms(waveform)

    def noise(self, label: str, source: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        waveform = self.sounds.draw(label, self.config.segment_samples, rng)
        lowest, highest = self.config.noise_db
        level_db = rng.uniform(lowest, highest)
        return waveform * np.float32(10 ** (level_db / 20)) * rms(source) / rms(waveform)

    @staticmethod
    def wording(phrases: tuple[str, ...], rng: np.random.Generator) -> TextQuery:
        return TextQuery(phrases[rng.integers(len(phrases))])

    def collate(self, items: list[Item]) -> MixtureBatch:
        return batch_of(items, self.sample_rate)

"""Training items for separators that follow one speaker: conversations queried by examples of the voices.

Each voice is a recording of one speaker at one speed; another speed makes another speaker, since pitch and
formants move with it (Ko et al., "Audio augmentation for speech recognition", 2015; for speaker embeddings
Yamamoto et al., "Speaker augmentation and bandwidth extension for deep speaker embedding", 2019). The
example is a part of the recording that the mixture does not contain, or another recording of the speaker,
with a level, noise, filter and room of its own. An item depends on (seed, draw number) alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import NamedTuple

import numpy as np
import torch

from qsep.queries.interface import AudioQuery, Query
from qsep.queries.settings import check_ascending, check_weights, configuration
from qsep.separation.interface import MixtureBatch

from .augment import AugmentConfig, change_speed, equalised_and_reverberated
from .clips import Take
from .items import Item, batch_of
from .mix_and_separate import active_stretch, at_level, cut_or_pad, drawn_index, rms

NUM_SLOTS = 3  # two voices with queries, and the rest
MAX_EXAMPLE_SHARE = 0.5  # of a recording
GAP_SECONDS = 0.05  # between what the example and the mixture take of a recording


@configuration
class SpeakerMixConfig:
    """example_seconds: of an example; at most half of its recording. num_sources_weights: relative
    frequencies of 1, 2 and 3 speakers at once. level_db: each speaker's level is uniform in [-level_db,
    level_db]. same_kind_probability: that all speakers are of one label, as women; otherwise the first two
    differ. absent_probability: that the second query is for a speaker who is not there.

    backgrounds: labels of other sounds; background_probability: that one lies background_db below the
    speakers. example_noise_db: level of white noise or a background in an example below the voice.
    held_out: groups (speakers) of the training split that validation uses instead.
    """

    segment_samples: int = 40960
    example_seconds: tuple[float, float] = (1.0, 2.5)
    num_sources_weights: tuple[float, ...] = (0.1, 0.7, 0.2)
    level_db: float = 5.0
    same_kind_probability: float = 0.4
    absent_probability: float = 0.15
    backgrounds: tuple[str, ...] = ()
    background_probability: float = 0.3
    background_db: tuple[float, float] = (5.0, 25.0)
    example_noise_db: tuple[float, float] = (15.0, 45.0)
    held_out: tuple[str, ...] = ()
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        check_weights(self, "num_sources_weights")
        check_ascending(self, ("example_seconds", "background_db", "example_noise_db"))

    @property
    def num_slots(self) -> int:
        """Sources of an item."""
        return NUM_SLOTS


class Speaker(NamedTuple):
    """A voice of a mixture. label: as "speech_male"; group: who it is."""

    label: str
    group: str


class Voices:
    """Recordings of speakers by label and group, and of backgrounds.

    takes: recordings by label, at sample_rate in Hz. Raises ValueError for fewer than three speakers.
    """

    def __init__(
        self, takes: Mapping[str, Sequence[Take]], config: SpeakerMixConfig, sample_rate: int
    ) -> None:
        self.config, self.sample_rate = config, sample_rate
        self.recordings: dict[Speaker, list[np.ndarray]] = {}
        self.backgrounds: list[list[np.ndarray]] = []
        for label in sorted(takes):
            if label in config.backgrounds:
                self.backgrounds.append([take.waveform for take in takes[label]])
                continue
            for take in takes[label]:
                speaker = Speaker(label, take.group)
                self.recordings.setdefault(speaker, []).append(take.waveform)
        self.speakers = sorted(self.recordings)
        if len(self.speakers) < NUM_SLOTS:
            raise ValueError(
                f"recordings of {len(self.speakers)} speakers; mixtures need {NUM_SLOTS}: give "
                "clips.csv a column group that names the speaker"
            )

    def draw(self, speaker: Speaker, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """What a speaker says in the mixture, (segment_samples,), and an example of the voice, (e,)."""
        config, augment = self.config, self.config.augment
        semitones = 0.0
        if rng.random() < augment.speed_probability:
            semitones = rng.uniform(-augment.speed_semitones, augment.speed_semitones)
        ratio = 2 ** (semitones / 12)
        num_example = int(rng.uniform(*config.example_seconds) * self.sample_rate * ratio)
        recordings = self.recordings[speaker]
        first, second = divided(recordings, num_example, round(GAP_SECONDS * self.sample_rate), rng)
        num_needed = int(np.ceil(config.segment_samples * ratio)) + 16
        voice, example = (
            active_stretch(part, num, rng).astype(np.float32) / 32768
            for part, num in ((first, num_needed), (second, num_example))
        )
        if semitones:
            voice, example = change_speed(voice, semitones), change_speed(example, semitones)
        return cut_or_pad(voice, config.segment_samples, rng), example

    def background(self, num_samples: int, rng: np.random.Generator) -> np.ndarray:
        """A stretch of a background, or white noise if there are none: (num_samples,) float32."""
        if not self.backgrounds:
            return rng.standard_normal(num_samples, dtype=np.float32)
        takes = self.backgrounds[rng.integers(len(self.backgrounds))]
        stretch = active_stretch(takes[rng.integers(len(takes))], num_samples, rng)
        return cut_or_pad(stretch.astype(np.float32) / 32768, num_samples, rng)


def divided(
    recordings: Sequence[np.ndarray], num_example: int, num_gap: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Material for the mixture and for the example, without a sample in common: two recordings of a speaker,
    or the two parts of the only one, in either order."""
    if len(recordings) > 1:
        first, second = rng.permutation(len(recordings))[:2]
        return recordings[first], recordings[second]
    whole = recordings[0]
    num_example = min(num_example, int(MAX_EXAMPLE_SHARE * len(whole)) - num_gap)
    if rng.random() < 0.5:
        return whole[num_example + num_gap :], whole[:num_example]
    return whole[: -num_example - num_gap], whole[-num_example:]


class SpeakerMixtures(torch.utils.data.Dataset[Item]):
    """dataset[draw] is (sources (3, 1, t), 3 queries, id), for any draw >= 0.

    The first two sources have queries; the second is silent if its speaker is absent. The third is the rest:
    a third speaker, or the second if another is asked for, and a background.
    """

    def __init__(self, voices: Voices, config: SpeakerMixConfig, sample_rate: int, seed: int):
        self.voices, self.config = voices, config
        self.sample_rate, self.seed = sample_rate, seed

    def __getitem__(self, draw: int) -> Item:
        config, rng = self.config, np.random.default_rng((self.seed, draw))
        num_speakers = 1 + drawn_index(config.num_sources_weights, rng)
        speakers = self.chosen(rng)
        sources = np.zeros((NUM_SLOTS, 1, config.segment_samples), np.float32)
        queries: list[Query | None] = [None] * NUM_SLOTS
        replaced = rng.random() < config.absent_probability
        for index, speaker in enumerate(speakers):
            voice, example = self.voices.draw(speaker, rng)
            is_there = index < num_speakers
            slot = index
            if replaced and index:  # the second is in the rest, and the third is asked for
                slot, is_there = (2, num_speakers > 1) if index == 1 else (1, False)
            if is_there:
                voice = self.recorded(voice, rng)
                level_db = rng.uniform(-config.level_db, config.level_db)
                sources[slot, 0] += at_level(voice, level_db)
            if slot < 2:
                queries[slot] = self.query(example, rng)
        if rng.random() < config.background_probability:
            sound = self.voices.background(config.segment_samples, rng)
            level_db = -rng.uniform(*config.background_db)
            sources[2, 0] += at_level(sound, level_db)
        sources *= np.float32(0.1 * 10 ** (rng.uniform(-20, 0) / 20))
        return torch.from_numpy(sources), queries, f"{self.seed}-{draw}"

    def chosen(self, rng: np.random.Generator) -> list[Speaker]:
        """Three different speakers, of one label or the first two of two, as far as there are enough."""
        order = [self.voices.speakers[i] for i in rng.permutation(len(self.voices.speakers))]
        first, *others = order
        if rng.random() < self.config.same_kind_probability:
            others.sort(key=lambda speaker: speaker.label != first.label)
        else:
            second = next((one for one in others if one.label != first.label), others[0])
            others.remove(second)
            others.insert(0, second)
        return [first, *others[: NUM_SLOTS - 1]]

    def recorded(self, voice: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The voice through a random filter and room: (t,) to (t,)."""
        return equalised_and_reverberated(voice, rng, self.sample_rate, self.config.augment)

    def query(self, example: np.ndarray, rng: np.random.Generator) -> AudioQuery:
        """The example as another device would record it in another room, with noise of its own."""
        voice = self.recorded(example, rng)
        if rng.random() < 0.5:
            noise = rng.standard_normal(len(voice), dtype=np.float32)
        else:
            noise = self.voices.background(len(voice), rng)
        noise_db = -rng.uniform(*self.config.example_noise_db)
        voice = voice / rms(voice) + at_level(noise, noise_db)
        level = np.float32(0.1 * 10 ** (rng.uniform(-20, 0) / 20))
        return AudioQuery(level * voice, sample_rate=self.sample_rate)

    def collate(self, items: list[Item]) -> MixtureBatch:
        """Items as a batch."""
        return batch_of(items, self.sample_rate)

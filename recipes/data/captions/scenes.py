"""Captioned mixtures and single sounds for weakly supervised training.

Either mixtures of labelled recordings get captions, as "a dog barking while rain falls", or recordings come
with captions; those whose caption names one sound count as single sounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ..mixtures.augment import AugmentConfig, equalised_and_reverberated
from ..mixtures.mix_and_separate import RecordedSounds, at_level
from ..mixtures.segments import CaptionedClip, read_segment
from ..wording import PhraseBook
from .phrases import sound_phrases
from .stored_phrases import Parser

Named = tuple[np.ndarray, str]  # waveform (t,) float32, and its caption or phrase
JOININGS = ("{} and {}", "{} while {}", "{} as {}", "{}, {}", "{} with {}", "{} followed by {}")
LEVEL_DB = -20.0  # root mean square of a sound, relative to full scale
TRIES = 8


class Scenes(Protocol):
    """A source of captioned sounds. All sounds of one call differ, and none is silent.

    parse: from a caption to the phrases of the sounds that it names.
    """

    parse: Parser

    def mixtures(self, number: int, num_samples: int, rng: np.random.Generator) -> list[Named]:
        """`number` mixtures with their captions."""
        ...

    def singles(self, number: int, num_samples: int, rng: np.random.Generator) -> list[Named]:
        """`number` single sounds with their phrases."""
        ...


@dataclass(frozen=True)
class Levels:
    """Levels of sounds in a mixture.

    level_db: each sound's level is uniform within this of LEVEL_DB. gains: (lowest, highest), used instead
    for captioned recordings: each is multiplied by a gain between them, clipped to full scale and divided
    by the number of recordings in the mixture. Raises ValueError unless there are none or two gains.
    """

    level_db: float = 5.0
    gains: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.gains) not in (0, 2):
            raise ValueError(f"mix.gains is {self.gains}; expected a lowest and a highest, or none")

    def leveled(self, waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The waveform (t,) at a random level around LEVEL_DB."""
        level_db = LEVEL_DB + rng.uniform(-self.level_db, self.level_db)
        return at_level(waveform, level_db)

    def gained(self, waveform: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
        """The waveform (t,) at a random gain; number: of recordings in the mixture."""
        if not self.gains:
            return self.leveled(waveform, rng)
        lowest, highest = self.gains
        gain = np.float32(rng.uniform(lowest, highest))
        return np.clip(gain * waveform, -1, 1) / np.float32(number)


class LabelledScenes:
    """Mixtures of labelled recordings, with captions made of their labels' phrases.

    alone: recordings by label for single sounds. together: those for mixtures of num_sounds different labels.
    Only phrases are used that `sound_phrases` recovers from a caption of several.
    Raises ValueError for labels that the phrase book lacks.
    """

    def __init__(
        self,
        alone: Mapping[str, list[np.ndarray]],
        together: Mapping[str, list[np.ndarray]],
        book: PhraseBook,
        num_sounds: int,
        levels: Levels,
        augment: AugmentConfig,
        sample_rate: int,
    ) -> None:
        self.alone, self.together = (
            RecordedSounds(dict(part), augment) for part in (alone, together)
        )
        self.num_sounds, self.levels = num_sounds, levels
        self.parse: Parser = sound_phrases
        self.augment, self.sample_rate = augment, sample_rate
        used = {*self.alone.labels, *self.together.labels}
        if unknown := sorted(used - set(book.labels)):
            raise ValueError(f"labels without wordings in the phrase book: {unknown}")
        names = dict(zip(book.labels, book.names, strict=True))
        self.wordings = {
            label: separable([*book.phrases[label], names[label]]) or [names[label].lower()]
            for label in used
        }

    def sound(
        self, sounds: RecordedSounds, label: str, num_samples: int, rng: np.random.Generator
    ) -> np.ndarray:
        """A random stretch of the label, augmented and leveled: (t,) float32."""
        waveform = sounds.draw(label, num_samples, rng)
        waveform = equalised_and_reverberated(waveform, rng, self.sample_rate, self.augment)
        return self.levels.leveled(waveform, rng)

    def wording(self, label: str, rng: np.random.Generator) -> str:
        """A random phrase of the label."""
        wordings = self.wordings[label]
        return wordings[int(rng.integers(len(wordings)))]

    def mixtures(self, number: int, num_samples: int, rng: np.random.Generator) -> list[Named]:
        """See `Scenes.mixtures`."""
        labels = drawn(self.together.labels, number * self.num_sounds, rng)
        mixtures = []
        for index in range(number):
            mixed = labels[index * self.num_sounds : (index + 1) * self.num_sounds]
            sounds = [self.sound(self.together, label, num_samples, rng) for label in mixed]
            caption = self.wording(mixed[0], rng)
            for label in mixed[1:]:
                joining = JOININGS[int(rng.integers(len(JOININGS)))]
                caption = joining.format(caption, self.wording(label, rng))
            mixtures.append((np.sum(sounds, axis=0), caption))
        return mixtures

    def singles(self, number: int, num_samples: int, rng: np.random.Generator) -> list[Named]:
        """See `Scenes.singles`."""
        return [
            (self.sound(self.alone, label, num_samples, rng), self.wording(label, rng))
            for label in drawn(self.alone.labels, number, rng)
        ]


class CaptionedScenes:
    """Recordings that come with captions; those whose caption names one sound are single sounds."""

    def __init__(
        self,
        folder: Path,
        clips: Sequence[CaptionedClip],
        levels: Levels,
        sample_rate: int,
        parse: Parser = sound_phrases,
    ) -> None:
        self.parse = parse
        self.folder, self.levels, self.sample_rate = folder, levels, sample_rate
        self.by_caption: dict[str, list[CaptionedClip]] = {}
        for clip in clips:
            for caption in clip.captions:
                self.by_caption.setdefault(caption, []).append(clip)
        self.captions = tuple(self.by_caption)
        self.single = tuple(caption for caption in self.captions if len(parse(caption)) == 1)

    def mixtures(self, number: int, num_samples: int, rng: np.random.Generator) -> list[Named]:
        """See `Scenes.mixtures`."""
        return self.recordings(self.captions, number, num_samples, rng)

    def singles(self, number: int, num_samples: int, rng: np.random.Generator) -> list[Named]:
        """See `Scenes.singles`."""
        return self.recordings(self.single, number, num_samples, rng)

    def recordings(
        self, captions: Sequence[str], number: int, num_samples: int, rng: np.random.Generator
    ) -> list[Named]:
        """Random segments of recordings with different captions, none silent.

        Raises ValueError if too many are silent or shorter than a second.
        """
        segments: list[Named] = []
        for caption in drawn(captions, min(len(captions), TRIES * number), rng, number):
            clips = self.by_caption[caption]
            clip = clips[int(rng.integers(len(clips)))]
            path = self.folder / clip.file
            segment = read_segment(path, num_samples, self.sample_rate, rng, clip.start)
            if segment is not None and segment.any():
                segments.append((self.levels.gained(segment, number, rng), caption))
            if len(segments) == number:
                return segments
        raise ValueError(f"{self.folder}: too many recordings are silent or shorter than a second")


def drawn(
    names: Sequence[str], number: int, rng: np.random.Generator, min_number: int | None = None
) -> list[str]:
    """Random different names; ValueError if there are fewer than `min_number` (default: `number`)."""
    if len(names) < (number if min_number is None else min_number):
        raise ValueError(f"{number} different sounds are mixed, but there are {len(names)}")
    return [names[int(index)] for index in rng.choice(len(names), number, replace=False)]


def separable(wordings: Sequence[str]) -> list[str]:
    """The wordings, lower case, that `sound_phrases` recovers from a caption with other sounds."""
    recovered = []
    for wording in dict.fromkeys(wording.lower().strip(" .,;:!?") for wording in wordings):
        around = [f"a dog barking and {wording} and rain falling", f"{wording}, rain falling"]
        expected = [["a dog barking", wording, "rain falling"], [wording, "rain falling"]]
        if [sound_phrases(caption) for caption in around] == expected:
            recovered.append(wording)
    return recovered


def divided(
    by_label: Mapping[str, list[np.ndarray]], fraction: float
) -> tuple[dict[str, list[np.ndarray]], dict[str, list[np.ndarray]]]:
    """Divide recordings into those for single sounds, a fraction of each label's, and those for mixtures.

    The division is the same in every run. With 0 all are for mixtures; with 1 all are for both. Else each
    label has at least one in either.
    """
    if fraction in (0, 1):
        return dict(by_label) if fraction else {}, dict(by_label)
    alone, together = {}, {}
    for label, recordings in by_label.items():
        order = np.random.default_rng(0).permutation(len(recordings))
        number = min(max(1, round(fraction * len(recordings))), len(recordings) - 1)
        alone[label] = [recordings[index] for index in order[: max(1, number)]]
        together[label] = [recordings[index] for index in order[number:]]
    return alone, together

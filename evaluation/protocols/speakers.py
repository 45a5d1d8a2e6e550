"""speakers: one of two people who talk at once, asked for by an example of the voice.

The list of recordings, by default 28 of the 20 speakers of sounds150 that `speaker-live` was not trained on,
has the columns of LIST. Each speaker is the target in mixtures with all others of the same label, as two
women, and with NUM_OTHERS of other labels: SECONDS long, at equal power. The example is another recording of
the target's speaker, or a part of the same recording GAP_SECONDS or more from the mixture's. All is drawn by
hashes of the file names, so that equal lists give equal mixtures. Condition other: the example is of the
other speaker, so that a model that follows it scores far below 0 dB. Condition absent: the example is of a
third speaker, and silence is expected.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qsep.queries.interface import AudioQuery
from qsep.separation.audio.reader import read_mono

from ..interface import NO_PUBLICATION, Figures, Item, ItemQuery, Publication
from ..items.corpus import MANIFESTS_DIR, drawn_number
from ..items.manifest import Cut, MixtureRow
from ..items.recordings import check_files
from ..items.rendering import SAMPLE_RATE, render_mixture

CONDITIONS = ("plain", "other", "absent")
LIST = ("file", "label", "group", "seconds")
SPEAKERS = MANIFESTS_DIR / "sounds150-speakers.csv"
SECONDS, GAP_SECONDS = 2.5, 0.05
MIN_EXAMPLE_SECONDS, MAX_EXAMPLE_SECONDS = 1.0, 3.0
NUM_OTHERS = 6  # mixtures of a speaker with those of other labels
NAMES = {"speech_male": "a man", "speech_female": "a woman", "speech_child": "a child"}


class Recording(NamedTuple):
    """file: relative to the data folder. label: the speaker's kind; group: the speaker."""

    file: str
    label: str
    group: str
    seconds: float


class Excerpt(NamedTuple):
    """Part of a recording."""

    file: str
    start_seconds: float
    seconds: float


class Pair(NamedTuple):
    """A mixture, and examples of the target's voice, the other one and one that is not there, by condition.
    The row's labels are the speakers. setting: whether both are of one kind."""

    row: MixtureRow
    setting: str
    plain: Excerpt
    other: Excerpt
    absent: Excerpt


@dataclass(frozen=True)
class SpeakerItems:
    """An ItemSet with one item for each pair."""

    name: str
    manifest_sha256: str
    condition: str
    data: Path
    pairs: tuple[Pair, ...]
    families: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def publication(self) -> Publication:
        """Adds `right_voice`, where there is a right one."""
        return NO_PUBLICATION if self.condition == "absent" else Publication(average=right_voice)

    @property
    def ids(self) -> list[str]:
        """The ids of the pairs."""
        return [pair.row.id for pair in self.pairs]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the condition and the pairs."""
        return hashlib.sha256(f"{self.condition} {self.pairs!r}".encode()).hexdigest()

    @cached_property
    def item_queries(self) -> list[ItemQuery]:
        """The speakers' kinds in words; what is asked for is said by the examples alone."""
        return [ItemQuery(row.query, row.label, row.labels) for row, *_ in self.pairs]

    def render(self, index: int) -> Item:
        """Item number `index` at SAMPLE_RATE."""
        row, setting, *examples = self.pairs[index]
        example = examples[CONDITIONS.index(self.condition)]
        mixture, target, rest = render_mixture(row, self.data)
        if self.condition == "absent":
            target, rest = np.zeros_like(mixture), mixture
        start, length = (
            round(SAMPLE_RATE * value) for value in (example.start_seconds, example.seconds)
        )
        heard = read_mono(self.data / example.file, SAMPLE_RATE)[start : start + length]
        return Item(
            *(row.id, row.query, row.label, mixture, target, rest, SAMPLE_RATE, row.labels),
            setting=setting,
            example=AudioQuery(heard, sample_rate=SAMPLE_RATE),
        )


def right_voice(rows: Sequence[Mapping[str, Any]]) -> Figures:
    """The share of mixtures whose estimate holds more of the target than of all else, SI-SDR above 0 dB: of
    all, and of each setting."""
    ratios: dict[str, list[float]] = {}
    for row in rows:
        if row["si_sdr"] is not None:
            for name in ("right_voice", f"right_voice, {row['setting']}"):
                ratios.setdefault(name, []).append(row["si_sdr"])
    return {name: sum(value > 0 for value in group) / len(group) for name, group in ratios.items()}


def load(data: Path, manifest: Path | None = None, condition: str = "plain") -> SpeakerItems:
    """Items of the speakers in a list, SPEAKERS by default.

    Raises ValueError for an unknown condition or a bad list, FileNotFoundError for missing files.
    """
    if condition not in CONDITIONS:
        raise ValueError(f"no condition is called {condition!r}; there are {', '.join(CONDITIONS)}")
    path = manifest or SPEAKERS
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such list of speakers")
    content = path.read_bytes()
    speakers = read_speakers(content, str(path))
    check_files((clip.file for clips in speakers for clip in clips), data)
    name = "speakers" if path == SPEAKERS else "custom speakers"
    sha256 = hashlib.sha256(content).hexdigest()
    return SpeakerItems(name, sha256, condition, data, tuple(pairs_of(speakers)))


def read_speakers(content: bytes, source: str) -> list[list[Recording]]:
    """The recordings of each speaker; ValueError for missing columns, short recordings or few speakers."""
    try:
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8"), newline="")))
        clips = [
            Recording(row["file"], row["label"], row["group"], float(row["seconds"]))
            for row in rows
        ]
    except (UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{source}: expected a CSV file with {', '.join(LIST)} ({error})"
        ) from None
    needed = SECONDS + GAP_SECONDS + MIN_EXAMPLE_SECONDS
    for clip in clips:
        if not clip.seconds >= needed:
            raise ValueError(
                f"{source}: {clip.file} is {clip.seconds} s long; expected {needed} or more"
            )
    clips.sort(key=lambda clip: (clip.label, clip.group, clip.file))
    speakers = [list(group) for _, group in groupby(clips, key=lambda clip: clip[1:3])]
    if len(speakers) < 3:
        raise ValueError(f"{source}: {len(speakers)} speakers; expected 3 or more")
    return speakers


def pairs_of(speakers: Sequence[Sequence[Recording]]) -> list[Pair]:
    """The mixtures of all speakers with all others of their label, and with NUM_OTHERS of other labels."""
    pairs = []
    for number, speaker in enumerate(speakers):
        target, example = cut_and_example(speaker)
        others = sorted(
            (other for other in speakers if other is not speaker),
            key=lambda other: drawn_number(json.dumps([target.path, other[0].file])),
        )
        same = [other for other in others if other[0].label == speaker[0].label]
        different = [other for other in others if other[0].label != speaker[0].label]
        for count, other in enumerate([*same, *different[:NUM_OTHERS]]):
            query = f"{NAMES.get(speaker[0].label, speaker[0].label)} speaking"
            row = MixtureRow(
                *(f"{number:02d}-{count:02d}", query, SECONDS, speaker[0].group, (target,)),
                *((cut_and_example(other)[0],), (other[0].group,), 0.0),
            )
            setting = "same kind" if count < len(same) else "other kind"
            stranger = next(one for one in [*same[::-1], *different[::-1]] if one is not other)
            examples = [example, *(cut_and_example(one)[1] for one in (other, stranger))]
            pairs.append(Pair(row, setting, *examples))
    return pairs


def cut_and_example(speaker: Sequence[Recording]) -> tuple[Cut, Excerpt]:
    """What of a speaker is mixed, SECONDS long, and an example of the voice, which has no sample of it."""
    clip = speaker[drawn_number(speaker[0].file) % len(speaker)]
    is_late = drawn_number(f"late {clip.file}") % 2 == 1
    start = clip.seconds - SECONDS if is_late else 0.0
    others = [one for one in speaker if one is not clip]
    if others:
        seconds = min(MAX_EXAMPLE_SECONDS, others[0].seconds)
        return Cut(clip.file, start), Excerpt(others[0].file, 0.0, seconds)
    seconds = min(MAX_EXAMPLE_SECONDS, clip.seconds - SECONDS - GAP_SECONDS)
    first = 0.0 if is_late else SECONDS + GAP_SECONDS
    return Cut(clip.file, start), Excerpt(clip.file, first, seconds)

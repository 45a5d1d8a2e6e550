"""Training items of videos: mixtures of clips, each queried by its label, its pictures or both.

An item depends on (seed, draw number) alone, never on worker, rank or resumption. Sampling and cutting follow
Dong et al., "CLIPSep: Learning text-queried sound separation with noisy unlabeled videos" (2023), and their
code.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from qsep.evaluation.items.recordings import cut_around
from qsep.queries.interface import ImageQuery, MixedQuery, Query, TextQuery
from qsep.queries.settings import check_ascending, configuration
from qsep.separation.audio.reader import length_and_rate, read_from
from qsep.separation.interface import MixtureBatch

from ..index import FRAMES_PER_SECOND, VideoClip
from ..wording import PhraseBook
from .items import Item, batch_of, epoch_order, marked_whole
from .meeting import Meetings
from .pictures import mixed_picture

log = logging.getLogger("qsep")

# Frames at either end that are never the centre of a training segment.
MARGIN = 3 * FRAMES_PER_SECOND
MODALITIES = ("text", "image", "mixed")


@configuration
class VideoMixConfig:
    """Each of num_sources clips is cut to segment_samples, multiplied by a gain uniform in `gains`, clipped
    to full scale and divided by num_sources.

    different_labels: clips of one label never meet, nor those of a label in `overlaps` with those of the ones
    listed with it. Without it, as published, any clips meet. num_frames: of a picture query, an odd number of
    them around the segment's centre. mixed_pictures: items of pictures have one more query, the mean of the
    sources' pictures, for the whole mixture; the source that goes with it is of zeros."""

    segment_samples: int = 65535
    num_sources: int = 2
    gains: tuple[float, float] = (0.5, 1.5)
    different_labels: bool = False
    overlaps: dict[str, list[str]] = field(default_factory=dict)
    num_frames: int = 3
    mixed_pictures: bool = False

    def __post_init__(self) -> None:
        check_ascending(self, ("gains",))
        if self.num_frames % 2 == 0 or self.num_frames > 2 * MARGIN + 1:
            raise ValueError(
                f"num_frames is {self.num_frames}; expected an odd number up to {2 * MARGIN + 1}"
            )
        if self.overlaps and not self.different_labels:
            raise ValueError("mix.overlaps needs mix.different_labels = true")


@dataclass(frozen=True)
class Pick:
    """A clip, the frame (from 1) at the centre of its audio and pictures, and its gain."""

    clip: VideoClip
    centre: int
    gain: float


def training_picks(
    clips: Sequence[VideoClip], config: VideoMixConfig, seed: int, draw: int
) -> list[Pick]:
    """The picks of a training mixture: every epoch passes through all clips in a new order.

    The other clips of a mixture are drawn uniformly, without repetition. Raises ValueError if too few have
    labels that may meet.
    """
    epoch, position = divmod(draw, len(clips))
    first = int(epoch_order(len(clips), seed, epoch)[position])
    rng = np.random.default_rng((seed, draw))
    if config.different_labels:
        others = unlike(clips, first, config, rng)
    else:
        drawn = rng.choice(len(clips) - 1, config.num_sources - 1, replace=False)
        others = [int(other) + (other >= first) for other in drawn]
    picks = []
    for index in (first, *others):
        clip = clips[index]
        lowest, highest = MARGIN + 1, clip.num_frames - MARGIN
        if lowest > highest:  # shorter than the margins: the middle
            lowest = highest = (clip.num_frames + 1) // 2
        centre = int(rng.integers(lowest, highest + 1))
        picks.append(Pick(clip, centre, rng.uniform(*config.gains)))
    return picks


def unlike(
    clips: Sequence[VideoClip], first: int, config: VideoMixConfig, rng: np.random.Generator
) -> list[int]:
    """Random clips whose labels may meet that of the first one, and each other's."""
    meetings = Meetings((), {}, config.overlaps)
    labels = [clips[first].label]
    others: list[int] = []
    for index in rng.permutation(len(clips)):
        if len(others) == config.num_sources - 1:
            break
        if clips[index].label not in meetings.barred(labels):
            labels.append(clips[index].label)
            others.append(int(index))
    if len(others) < config.num_sources - 1:
        raise ValueError(
            f"mix.num_sources is {config.num_sources}, but only {len(labels)} labels may meet"
        )
    return others


def validation_picks(clips: Sequence[VideoClip], config: VideoMixConfig, draw: int) -> list[Pick]:
    """The authors' validation mixtures: each row, with random.sample of others after random.seed(row)."""
    first = draw % len(clips)
    candidates = [index for index in range(len(clips)) if index != first]
    others = random.Random(first).sample(candidates, config.num_sources - 1)
    chosen = [clips[index] for index in (first, *others)]
    return [Pick(clip, clip.num_frames // 2, 1.0) for clip in chosen]


def read_cut(path: Path, centre_seconds: float, num_samples: int) -> np.ndarray:
    """The num_samples of a recording around a time, channels averaged: (num_samples,) float32.

    Only the part needed is read. Raises ValueError if the recording ends before.
    """
    length, rate = length_and_rate(path)
    centre = int(centre_seconds * rate)
    first = max(0, min(centre, length) - num_samples)  # from the start if it is shorter
    part = read_from(path, first, 2 * num_samples).mean(axis=0, dtype=np.float32)
    return cut_around(part, centre - first, num_samples, path)


class QueryChooser:
    """The kind of query of an item's sources.

    kind: "text", "image", "mixed", "hybrid" (images at even steps, text at odd ones; in validation images),
    or the relative frequencies of text, image and mixed, drawn for each item. Raises ValueError for others.
    """

    def __init__(
        self, kind: str | tuple[float, ...], seed: int, batch_size: int, validation: bool
    ) -> None:
        if isinstance(kind, str) and kind not in (*MODALITIES, "hybrid"):
            raise ValueError(
                f"data.queries is {kind!r}; expected text, image, mixed, hybrid, or three frequencies"
            )
        if not isinstance(kind, str) and (len(kind) != 3 or min(kind) < 0 or sum(kind) <= 0):
            raise ValueError(
                f"data.queries is {list(kind)}; expected the frequencies of text, image and mixed"
            )
        self.kind = "image" if kind == "hybrid" and validation else kind
        self.seed, self.batch_size = seed, batch_size

    @property
    def shows_pictures(self) -> bool:
        """Whether any query may contain pictures."""
        return self.kind != "text" and self.kind[1:] != (0, 0)

    def modality(self, draw: int) -> str:
        """One of MODALITIES for the draw-th item."""
        if self.kind == "hybrid":
            return ("image", "text")[draw // self.batch_size % 2]
        if isinstance(self.kind, str):
            return self.kind
        rng = np.random.default_rng((self.seed, draw, 2))
        return str(rng.choice(MODALITIES, p=np.divide(self.kind, sum(self.kind))))


class VideoMixtures(torch.utils.data.Dataset[tuple[torch.Tensor, list[Query | None], str]]):
    """dataset[draw] is (sources (s, 1, t), s queries, id), for any draw >= 0.

    If a file cannot be read, the whole item is silent and without queries, as in the authors' code, and a
    warning names the file. Raises ValueError for labels without phrases, and for missing files.
    """

    def __init__(
        self,
        folder: Path,
        clips: Sequence[VideoClip],
        book: PhraseBook,
        config: VideoMixConfig,
        chooser: QueryChooser,
        sample_rate: int,
        seed: int,
        validation: bool,
    ) -> None:
        unknown = sorted({clip.label for clip in clips} - set(book.labels))
        if unknown:
            raise ValueError(f"labels without wordings in the phrase book: {unknown}")
        check_files(folder, clips, chooser.shows_pictures, sample_rate)
        self.folder, self.clips, self.book, self.config = folder, clips, book, config
        self.chooser, self.sample_rate = chooser, sample_rate
        self.seed, self.validation = seed, validation

    def picks(self, draw: int) -> list[Pick]:
        """The clips of the draw-th item."""
        if self.validation:
            return validation_picks(self.clips, self.config, draw)
        return training_picks(self.clips, self.config, self.seed, draw)

    def __getitem__(self, draw: int) -> tuple[torch.Tensor, list[Query | None], str]:
        picks = self.picks(draw)
        modality = self.chooser.modality(draw)
        rng = np.random.default_rng((self.seed, draw, 3))
        num_slots = len(picks) + self.config.mixed_pictures
        sources = np.zeros((num_slots, 1, self.config.segment_samples), np.float32)
        queries: list[Query | None] = [None] * num_slots
        try:
            sources[: len(picks), 0] = [self.sound(pick) for pick in picks]
            queries[: len(picks)] = [self.query(pick, modality, rng) for pick in picks]
            if self.config.mixed_pictures and modality == "image":
                queries[-1] = mixed_picture([self.pictures(pick) for pick in picks])
        except Exception as error:  # one bad item does not end the run
            log.warning("item %d is silent: %s", draw, error)
            sources[:] = 0
            queries = [None] * num_slots
        return torch.from_numpy(sources), queries, f"{self.seed}-{draw}"

    def sound(self, pick: Pick) -> np.ndarray:
        """The segment of a pick: (segment_samples,) float32."""
        seconds = (pick.centre - 0.5) / FRAMES_PER_SECOND
        cut = read_cut(self.folder / pick.clip.audio, seconds, self.config.segment_samples)
        return np.clip(cut * np.float32(pick.gain), -1, 1) / self.config.num_sources

    def query(self, pick: Pick, modality: str, rng: np.random.Generator) -> Query:
        """A phrase of the label, the frames around the centre, or both."""
        phrases = self.book.phrases[pick.clip.label]
        words = TextQuery(phrases[rng.integers(len(phrases))])
        if modality == "text":
            return words
        pictures = self.pictures(pick)
        return pictures if modality == "image" else MixedQuery(words, pictures)

    def pictures(self, pick: Pick) -> ImageQuery:
        """The num_frames frames around the centre."""
        reach = self.config.num_frames // 2
        frames = range(pick.centre - reach, pick.centre + reach + 1)
        folder = self.folder / pick.clip.frames
        return ImageQuery(*(folder / f"{frame:06d}.jpg" for frame in frames))

    def collate(self, items: list[Item]) -> MixtureBatch:
        """Items as a batch."""
        batch = batch_of(items, self.sample_rate)
        return marked_whole(batch, self.config.num_sources) if self.config.mixed_pictures else batch


def check_files(folder: Path, clips: Sequence[VideoClip], pictures: bool, sample_rate: int) -> None:
    """Raise ValueError for missing files, and for another sample rate than the separator's."""
    missing = [clip.audio for clip in clips if not (folder / clip.audio).is_file()]
    if pictures:
        missing += [clip.frames for clip in clips if not (folder / clip.frames).is_dir()]
    if missing:
        raise ValueError(
            f"{folder}: {len(missing)} of the files listed are missing, first {missing[0]}; "
            "run `qsep data prepare` again"
        )
    rate = length_and_rate(folder / clips[0].audio)[1]
    if rate != sample_rate:
        raise ValueError(
            f"{folder}: prepared at {rate} Hz, but the separator works at {sample_rate} Hz"
        )

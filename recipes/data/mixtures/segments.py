"""Training items of captioned recordings, mixed as in AudioSep, as in USS, or at exact levels.

In AudioSep and USS the segments of a batch are rotated: each is the target of its own mixture and the
interferer in that of the item before it. An item depends on (seed, draw number) alone, never on worker, rank
or resumption. AudioSep: Liu et al., arXiv 2308.05037; USS: Kong et al., arXiv 2305.07447; and their code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soxr
import torch

from qsep.queries.files.json_files import json_content
from qsep.queries.interface import AudioQuery, Query, TextQuery
from qsep.queries.settings import configuration
from qsep.separation.audio.reader import length_and_rate, read_from
from qsep.separation.interface import MixtureBatch

from .items import Item, batch_of, epoch_order
from .meeting import Meetings
from .mix_and_separate import drawn_index

MIN_GAIN, MAX_GAIN = 0.02, 50.0
MIN_POWER = 1e-10
HEADROOM = 0.9  # peak of mixtures that would exceed full scale
SPARE_SECONDS = 0.05  # read beyond a segment, for the filter of the resampler
TRIES = 8  # to find a segment that is not silent


@configuration
class SegmentMixConfig:
    """rule: "audiosep", "uss" or "exact", see `audiosep_sources`, `uss_sources` and `exact_sources`.
    max_sources: mixtures have 2 to this many sources, each number equally often, or by the relative
    frequencies of 2, 3, … sources in num_sources_weights. level_db: of the target
    relative to the other sources, uniform in [-level_db, level_db]. balanced: sample captions uniformly
    instead of recordings, as USS does with classes. max_absent: queries of captions that no source has, with
    silence as their target. overlaps: captions that contain the ones listed with
    them, as a label its sub-labels, and never meet these; by rule "exact" alone, since the others take a
    batch's neighbours. Raises ValueError for other rules and numbers.
    """

    segment_samples: int = 160000
    rule: str = "audiosep"
    max_sources: int = 2
    num_sources_weights: tuple[float, ...] = ()
    level_db: int = 10
    balanced: bool = False
    max_absent: int = 0
    overlaps: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rule not in ("audiosep", "uss", "exact"):
            raise ValueError(f"mix.rule is {self.rule!r}; expected 'audiosep', 'uss' or 'exact'")
        if self.max_sources < 2 or (self.rule == "uss" and self.max_sources != 2):
            expected = "2" if self.rule == "uss" else "2 or more"
            raise ValueError(f"mix.max_sources is {self.max_sources}; expected {expected}")
        weights = self.num_sources_weights
        if weights and (len(weights) != self.max_sources - 1 or not sum(weights)):
            raise ValueError(
                f"mix.num_sources_weights has {len(weights)} numbers; expected {self.max_sources - 1}, "
                "not all 0, for 2 to mix.max_sources sources"
            )
        if self.overlaps and self.rule != "exact":
            raise ValueError(f"mix.overlaps needs mix.rule = 'exact', not {self.rule!r}")

    @property
    def num_slots(self) -> int:
        """Sources and absent queries of an item."""
        return self.max_sources + self.max_absent


@dataclass(frozen=True)
class CaptionedClip:
    """file: relative to the data folder, or absolute. captions: alternatives for the query. start: of the
    segment, in seconds, as found by anchors.py; None for a random one."""

    file: str
    captions: tuple[str, ...]
    start: float | None = None


def read_captions(folder: Path, split: str, min_clips: int = 2) -> tuple[CaptionedClip, ...]:
    """folder/SPLIT.json in AudioSep's form: {"data": [{"wav": FILE, "caption": TEXT}, …]}.

    An item may have several "captions", and a "start" in seconds.
    Raises ValueError for a missing or malformed list, missing recordings, and fewer than min_clips.
    """
    path = folder / f"{split}.json"
    if not path.is_file():
        raise ValueError(
            f"{path}: no such file; data.folder must hold {split}.json, "
            'as {"data": [{"wav": "rain.wav", "caption": "rain on a roof"}]}; '
            "`qsep data captions` makes it from public data sets"
        )
    try:
        content = json_content(path)
        clips = tuple(
            CaptionedClip(
                item["wav"],
                tuple(item.get("captions") or [item["caption"]]),
                None if item.get("start") is None else max(0.0, float(item["start"])),
            )
            for item in content["data"]
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: expected data with wav and caption each ({error!r})") from error
    missing = [clip.file for clip in clips if not (folder / clip.file).is_file()]
    if missing:
        raise ValueError(
            f"{path}: {len(missing)} of its files are missing, first {folder / missing[0]}"
        )
    if len(clips) < min_clips:
        raise ValueError(f"{path}: lists {len(clips)} recordings, but mixtures need {min_clips}")
    return clips


def audiosep_sources(segments: np.ndarray, levels_db: Sequence[int]) -> np.ndarray:
    """segments (s, t), the target first, to sources (s, t) that sum to AudioSep's mixture.

    levels_db: of each interferer relative to the target, then of their sum. The last one determines the
    result: a single interferer's own level cancels unless its gain was limited.
    """
    target, others = segments[0], segments[1:]
    gains = [
        level_gain(other, target, level)
        for other, level in zip(others, levels_db[:-1], strict=True)
    ]
    noise = np.asarray(gains, np.float32)[:, None] * others
    noise *= level_gain(noise.sum(axis=0), target, levels_db[-1])
    return unclipped(np.concatenate([target[None], noise]))


def uss_sources(segments: np.ndarray) -> np.ndarray:
    """segments (2, t) to sources (2, t) of equal energy, within the limits of `level_gain`."""
    return np.stack([segments[0], segments[1] * level_gain(segments[1], segments[0], 0)])


def exact_sources(segments: np.ndarray, level_db: float) -> np.ndarray:
    """segments (s, t), the target first, to sources (s, t).

    The interferers have equal energies, and their sum lies at level_db relative to the target; gains are not
    limited. The target and the sum of the others must not be silent.
    """
    target, others = segments[0], segments[1:]
    others = others / np.sqrt(np.maximum(power(others), MIN_POWER))[:, None]
    noise_power = power(target) * 10 ** (level_db / 10)
    others *= np.sqrt(noise_power / np.maximum(power(others.sum(axis=0)), MIN_POWER))
    return unclipped(np.concatenate([target[None], others]).astype(np.float32))


def power(waveform: np.ndarray) -> np.ndarray:
    """Mean square: (..., t) to (...)."""
    return np.square(waveform).mean(axis=-1)


def level_gain(waveform: np.ndarray, reference: np.ndarray, level_db: float) -> np.float32:
    """The gain to level_db relative to the reference; the gain to 0 dB is limited to [MIN_GAIN, MAX_GAIN]."""
    ratio = np.sqrt(power(waveform) / np.maximum(power(reference), MIN_POWER))
    return np.float32(10 ** (level_db / 20) / np.clip(ratio, MIN_GAIN, MAX_GAIN))


def unclipped(sources: np.ndarray) -> np.ndarray:
    """The sources (s, t), scaled down together if the peak of their sum exceeds full scale."""
    peak = np.abs(sources.sum(axis=0)).max()
    return sources * np.float32(HEADROOM / peak) if peak > 1 else sources


class SegmentMixtures(torch.utils.data.Dataset[tuple[torch.Tensor, list[Query | None], str]]):
    """dataset[draw] is (sources (s, 1, t), s queries, id), for any draw >= 0.

    The first source has a query: its caption or, if by_example, its own audio; the other ones have none.
    Queries of absent captions follow. batch_size: of a training step. Raises ValueError for too small a
    batch and too few captions for the rule.
    """

    def __init__(
        self,
        folder: Path,
        clips: Sequence[CaptionedClip],
        config: SegmentMixConfig,
        by_example: bool,
        batch_size: int,
        sample_rate: int,
        seed: int,
    ) -> None:
        if config.max_sources > batch_size and config.rule != "exact":
            raise ValueError(f"train.batch_size {batch_size} is less than mix.max_sources")
        captions = {clip.captions for clip in clips}
        if config.rule == "exact" and len(captions) < config.max_sources:
            raise ValueError(
                f"{folder}: mixtures need {config.max_sources} different captions, not {len(captions)}"
            )
        if by_example and config.max_absent:
            raise ValueError("mix.max_absent is for queries in words: set it to 0, or data.queries")
        self.folder, self.clips, self.config, self.by_example = folder, clips, config, by_example
        self.batch_size, self.sample_rate, self.seed = batch_size, sample_rate, seed
        by_caption: dict[str, list[CaptionedClip]] = {}
        for clip in clips:
            by_caption.setdefault(clip.captions[0], []).append(clip)
        self.by_caption = list(by_caption.values())
        self.meetings = Meetings((), {}, config.overlaps)

    def __getitem__(self, draw: int) -> tuple[torch.Tensor, list[Query | None], str]:
        config = self.config
        rng = np.random.default_rng((self.seed, draw, 2))
        if odds := config.num_sources_weights:
            num_sources = 2 + drawn_index(odds, rng)
        else:
            num_sources = int(rng.integers(2, config.max_sources + 1))
        sources = np.zeros((config.num_slots, 1, config.segment_samples), np.float32)
        if config.rule == "exact":
            mixed, segments = self.unlike(draw, num_sources, rng)
            level_db = rng.uniform(-config.level_db, config.level_db)
            sources[:num_sources, 0] = exact_sources(segments, level_db)
        else:
            step, position = divmod(draw, self.batch_size)
            positions = [(position + source) % self.batch_size for source in range(num_sources)]
            cuts = [self.segment(step * self.batch_size + each) for each in positions]
            mixed, segments = [clip for clip, _ in cuts], np.stack([cut for _, cut in cuts])
            if config.rule == "uss":
                sources[:num_sources, 0] = uss_sources(segments)
            else:
                levels = rng.integers(-config.level_db, config.level_db + 1, num_sources)
                sources[:num_sources, 0] = audiosep_sources(segments, levels.tolist())
        query: Query = TextQuery(self.wording(mixed[0], draw))
        if self.by_example:
            query = AudioQuery(sources[0, 0], sample_rate=self.sample_rate)
        others = [None] * (config.max_sources - 1)
        queries = [query, *others, *self.absent(mixed, draw)]
        return torch.from_numpy(sources), queries, f"{self.seed}-{draw}"

    def absent(self, mixed: Sequence[CaptionedClip], draw: int) -> list[TextQuery | None]:
        """max_absent captions that may meet all of those that are mixed; None where none was found."""
        rng = np.random.default_rng((self.seed, draw, 10))
        used = {caption for clip in mixed for caption in clip.captions}
        queries: list[TextQuery | None] = []
        for _ in range(TRIES * self.config.max_absent):
            clip = self.clips[int(rng.integers(len(self.clips)))]
            if len(queries) < self.config.max_absent and self.meetings.barred(used).isdisjoint(
                clip.captions
            ):
                used |= set(clip.captions)
                queries.append(TextQuery(clip.captions[int(rng.integers(len(clip.captions)))]))
        return [*queries, *[None] * (self.config.max_absent - len(queries))]

    def wording(self, clip: CaptionedClip, draw: int) -> str:
        """A random one of the clip's captions."""
        rng = np.random.default_rng((self.seed, draw, 4))
        return clip.captions[int(rng.integers(len(clip.captions)))]

    def segment(self, draw: int) -> tuple[CaptionedClip, np.ndarray]:
        """A clip and a segment of it; every epoch visits all clips (balanced: captions) in a new order."""
        rng = np.random.default_rng((self.seed, draw, 3))
        if self.config.balanced:
            return self.cut(self.of_next_caption(draw), rng)
        epoch, position = divmod(draw, len(self.clips))
        clip = self.clips[epoch_order(len(self.clips), self.seed, epoch)[position]]
        return self.cut(clip, rng)

    def of_next_caption(self, draw: int) -> CaptionedClip:
        """The clip of a draw if balanced: every round visits all captions, each with its next clip."""
        round_, position_in_round = divmod(draw, len(self.by_caption))
        caption = int(epoch_order(len(self.by_caption), self.seed, round_)[position_in_round])
        clips = self.by_caption[caption]
        epoch, position = divmod(round_, len(clips))
        order = np.random.default_rng((self.seed, caption, epoch, 5)).permutation(len(clips))
        return clips[order[position]]

    def cut(
        self, clip: CaptionedClip, rng: np.random.Generator
    ) -> tuple[CaptionedClip, np.ndarray]:
        """A segment of the clip; of a random other one if it is shorter than a second, as AudioSep does."""
        for _ in range(TRIES):
            segment = read_segment(
                self.folder / clip.file,
                self.config.segment_samples,
                self.sample_rate,
                rng,
                clip.start,
            )
            if segment is not None:
                return clip, segment
            clip = self.clips[int(rng.integers(len(self.clips)))]
        raise ValueError(f"{self.folder}: too many recordings are shorter than a second")

    def unlike(
        self, draw: int, num_sources: int, rng: np.random.Generator
    ) -> tuple[list[CaptionedClip], np.ndarray]:
        """The draw's clip and others with other captions, and segments of them, (s, t), none silent."""
        chosen: list[tuple[CaptionedClip, np.ndarray]] = []
        candidate = self.segment(draw)
        for _ in range(TRIES * num_sources):
            clip, segment = candidate
            known = {caption for other, _ in chosen for caption in other.captions}
            if segment.any() and self.meetings.barred(known).isdisjoint(clip.captions):
                chosen.append(candidate)
            if len(chosen) == num_sources:
                return [clip for clip, _ in chosen], np.stack([cut for _, cut in chosen])
            candidate = self.cut(self.clips[int(rng.integers(len(self.clips)))], rng)
        raise ValueError(f"{self.folder}: too many recordings are silent or share a caption")

    def collate(self, items: list[Item]) -> MixtureBatch:
        """Items as a batch."""
        return batch_of(items, self.sample_rate)


def read_segment(
    path: Path,
    num_samples: int,
    sample_rate: int,
    rng: np.random.Generator,
    start: float | None = None,
) -> np.ndarray | None:
    """A random segment, or the one from `start` seconds on: (num_samples,) float32 at sample_rate.

    The first two channels are averaged; a short recording is followed by zeros. None for a recording of less
    than a second. Raises AudioError for one that cannot be read.
    """
    length, rate = length_and_rate(path)
    if length < rate:
        return None
    num_needed = math.ceil((num_samples / sample_rate + SPARE_SECONDS) * rate)
    if start is None:
        first = int(rng.integers(max(0, length - num_needed) + 1))
    else:
        first = min(round(start * rate), length)
    segment = read_from(path, first, num_needed)[:2].mean(axis=0, dtype=np.float32)
    segment = resampled(segment, rate, sample_rate)[:num_samples]
    return np.pad(segment, (0, num_samples - len(segment)))


def resampled(waveform: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    """The waveform (t,) at rate in Hz at another one, sample_rate."""
    if rate == sample_rate:
        return waveform
    return soxr.resample(waveform, rate, sample_rate, quality="HQ")

"""Training items of captioned recordings, mixed as in AudioSep and in USS, or as we would.

A step's items go round: each one's segment is the target of its own mixture, and disturbs that of the item
before it. An item is a pure function of (seed, draw number): never of worker, rank or resume.
AudioSep: Liu et al., arXiv 2308.05037; USS: Kong et al., arXiv 2305.07447; and their code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
import torch

from qsep.queries.interface import AudioQuery, Query, TextQuery
from qsep.queries.settings import configuration
from qsep.separation.audio.reader import length_and_rate, read_from
from qsep.separation.interface import MixtureBatch

from .items import Item, batch_of, epoch_order

MIN_GAIN, MAX_GAIN = 0.02, 50.0
MIN_POWER = 1e-10
HEADROOM = 0.9  # of full scale: the peak of what would pass it
SPARE_SECONDS = 0.05  # read beyond a segment, for the resampler's ends
TRIES = 8  # of segments in which something sounds


@configuration
class SegmentMixConfig:
    """rule: "audiosep", "uss" or "exact", as the functions here say. max_sources: a mixture has 2 to this
    many, each number equally often. level_db: the target is at most this much above or below the rest.
    balanced: captions come equally often, not recordings, as in USS, where they are classes."""

    segment_samples: int = 160000
    rule: str = "audiosep"
    max_sources: int = 2
    level_db: int = 10
    balanced: bool = False

    def __post_init__(self) -> None:
        if self.rule not in ("audiosep", "uss", "exact"):
            raise ValueError(f"mix.rule is {self.rule!r}; expected 'audiosep', 'uss' or 'exact'")
        if self.max_sources < 2 or (self.rule == "uss" and self.max_sources != 2):
            expected = "2" if self.rule == "uss" else "2 or more"
            raise ValueError(f"mix.max_sources is {self.max_sources}; expected {expected}")


@dataclass(frozen=True)
class CaptionedClip:
    """file: relative to the data folder, or absolute. captions: any of them may be asked for. start: of the
    segment to cut, in seconds (anchors.py); None: anywhere."""

    file: str
    captions: tuple[str, ...]
    start: float | None = None


def read_captions(folder: Path, split: str, min_clips: int = 2) -> tuple[CaptionedClip, ...]:
    """folder/SPLIT.json in AudioSep's form: {"data": [{"wav": FILE, "caption": TEXT}, …]}.

    An item with several has them all as "captions"; "start" says where its segment lies, in seconds.
    min_clips: how many recordings there must be.
    """
    path = folder / f"{split}.json"
    if not path.is_file():
        raise ValueError(
            f"{path}: no such file; data.folder must hold {split}.json, "
            'as {"data": [{"wav": "rain.wav", "caption": "rain on a roof"}]}; '
            "`qsep data captions` makes it from public data sets"
        )
    try:
        content = json.loads(path.read_text("utf-8"))
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
        raise ValueError(f"{path}: lists {len(clips)} recordings; mixtures need two")
    return clips


def audiosep_sources(segments: np.ndarray, levels_db: Sequence[int]) -> np.ndarray:
    """segments (s, t), the target first, to sources (s, t) that sum to AudioSep's mixture.

    levels_db: of each interferer relative to the target, then of their sum, which is what counts: with one
    interferer its own level cancels, unless a limit of the gain was met.
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
    """segments (2, t) to sources (2, t) of equal energy, the gain of the second within its limits."""
    return np.stack([segments[0], segments[1] * level_gain(segments[1], segments[0], 0)])


def exact_sources(segments: np.ndarray, level_db: float) -> np.ndarray:
    """segments (s, t), the target first, neither it nor all others silent, to sources (s, t).

    The others, at equal energies, sum to level_db relative to the target, whatever the gains it takes.
    """
    target, others = segments[0], segments[1:]
    others = others / np.sqrt(np.maximum(power(others), MIN_POWER))[:, None]
    wanted = power(target) * 10 ** (level_db / 10)
    others *= np.sqrt(wanted / np.maximum(power(others.sum(axis=0)), MIN_POWER))
    return unclipped(np.concatenate([target[None], others]).astype(np.float32))


def power(waveform: np.ndarray) -> np.ndarray:
    """Mean square: (..., t) to (...)."""
    return np.square(waveform).mean(axis=-1)


def level_gain(waveform: np.ndarray, reference: np.ndarray, level_db: float) -> np.float32:
    """Brings a waveform to the reference's energy within limits, and from there to level_db."""
    ratio = np.sqrt(power(waveform) / np.maximum(power(reference), MIN_POWER))
    return np.float32(10 ** (level_db / 20) / np.clip(ratio, MIN_GAIN, MAX_GAIN))


def unclipped(sources: np.ndarray) -> np.ndarray:
    """All sources quieter, where their sum would pass full scale."""
    peak = np.abs(sources.sum(axis=0)).max()
    return sources * np.float32(HEADROOM / peak) if peak > 1 else sources


class SegmentMixtures(torch.utils.data.Dataset[tuple[torch.Tensor, list[Query | None], str]]):
    """dataset[draw] is (sources (s, 1, t), s queries, id), the draw-th item of an endless list.

    The first source alone is asked for: by its caption, or (by_example) by itself. batch_size: of a step.
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
                f"{folder}: mixtures of {config.max_sources} captions, of {len(captions)}"
            )
        self.folder, self.clips, self.config, self.by_example = folder, clips, config, by_example
        self.batch_size, self.sample_rate, self.seed = batch_size, sample_rate, seed
        by_caption: dict[str, list[CaptionedClip]] = {}
        for clip in clips:
            by_caption.setdefault(clip.captions[0], []).append(clip)
        self.by_caption = list(by_caption.values())

    def __getitem__(self, draw: int) -> tuple[torch.Tensor, list[Query | None], str]:
        config = self.config
        rng = np.random.default_rng((self.seed, draw, 2))
        num_sources = int(rng.integers(2, config.max_sources + 1))
        sources = np.zeros((config.max_sources, 1, config.segment_samples), np.float32)
        if config.rule == "exact":
            clip, segments = self.unlike(draw, num_sources, rng)
            level_db = rng.uniform(-config.level_db, config.level_db)
            sources[:num_sources, 0] = exact_sources(segments, level_db)
        else:
            step, place = divmod(draw, self.batch_size)
            places = [(place + source) % self.batch_size for source in range(num_sources)]
            found = [self.segment(step * self.batch_size + each) for each in places]
            clip, segments = found[0][0], np.stack([segment for _, segment in found])
            if config.rule == "uss":
                sources[:num_sources, 0] = uss_sources(segments)
            else:
                levels = rng.integers(-config.level_db, config.level_db + 1, num_sources)
                sources[:num_sources, 0] = audiosep_sources(segments, levels.tolist())
        query: Query = TextQuery(self.wording(clip, draw))
        if self.by_example:
            query = AudioQuery(sources[0, 0], sample_rate=self.sample_rate)
        others = [None] * (config.max_sources - 1)
        return torch.from_numpy(sources), [query, *others], f"{self.seed}-{draw}"

    def wording(self, clip: CaptionedClip, draw: int) -> str:
        """One of the clip's captions, each as likely."""
        rng = np.random.default_rng((self.seed, draw, 4))
        return clip.captions[int(rng.integers(len(clip.captions)))]

    def segment(self, draw: int) -> tuple[CaptionedClip, np.ndarray]:
        """A clip and a segment of it; every epoch goes through all clips in an order of its own."""
        rng = np.random.default_rng((self.seed, draw, 3))
        if self.config.balanced:
            return self.cut(self.of_next_caption(draw), rng)
        epoch, position = divmod(draw, len(self.clips))
        clip = self.clips[epoch_order(len(self.clips), self.seed, epoch)[position]]
        return self.cut(clip, rng)

    def of_next_caption(self, draw: int) -> CaptionedClip:
        """Every round goes through all captions in an order of its own, and at each through its clips."""
        round_, place = divmod(draw, len(self.by_caption))
        caption = int(epoch_order(len(self.by_caption), self.seed, round_)[place])
        clips = self.by_caption[caption]
        epoch, position = divmod(round_, len(clips))
        order = np.random.default_rng((self.seed, caption, epoch, 5)).permutation(len(clips))
        return clips[order[position]]

    def cut(
        self, clip: CaptionedClip, rng: np.random.Generator
    ) -> tuple[CaptionedClip, np.ndarray]:
        """Of a clip shorter than a second, another instead, as AudioSep does."""
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
    ) -> tuple[CaptionedClip, np.ndarray]:
        """The draw's clip, and segments of it and of clips with other captions, none of them silent."""
        found: list[tuple[CaptionedClip, np.ndarray]] = []
        candidate = self.segment(draw)
        for _ in range(TRIES * num_sources):
            clip, segment = candidate
            known = {caption for other, _ in found for caption in other.captions}
            if segment.any() and known.isdisjoint(clip.captions):
                found.append(candidate)
            if len(found) == num_sources:
                return found[0][0], np.stack([segment for _, segment in found])
            candidate = self.cut(self.clips[int(rng.integers(len(self.clips)))], rng)
        raise ValueError(f"{self.folder}: too many recordings are silent or share a caption")

    def collate(self, items: list[Item]) -> MixtureBatch:
        return batch_of(items, self.sample_rate)


def read_segment(
    path: Path,
    num_samples: int,
    sample_rate: int,
    rng: np.random.Generator,
    start: float | None = None,
) -> np.ndarray | None:
    """A random stretch at sample_rate, or that from `start` seconds on, mean of the first two channels:
    (t,) float32, zeros at the end of what is shorter. None for a recording of less than a second."""
    length, rate = length_and_rate(path)
    if length < rate:
        return None
    num_needed = math.ceil((num_samples / sample_rate + SPARE_SECONDS) * rate)
    if start is None:
        first = int(rng.integers(max(0, length - num_needed) + 1))
    else:
        first = min(round(start * rate), length)
    found = read_from(path, first, num_needed)[:2].mean(axis=0, dtype=np.float32)
    if rate != sample_rate:
        found = soxr.resample(found, rate, sample_rate, quality="HQ")
    segment = np.zeros(num_samples, np.float32)
    found = found[:num_samples]
    segment[: len(found)] = found
    return segment

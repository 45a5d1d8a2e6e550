"""Training items of captioned recordings, mixed as in AudioSep and in USS, or as we would.

A step's items go round: each one's segment is the target of its own mixture, and disturbs that of the item
before it. An item is a pure function of (seed, draw number): never of worker, rank or resume.
AudioSep: Liu et al., arXiv 2308.05037; USS: Kong et al., arXiv 2305.07447; and their code.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch

from qsep.queries.interface import AudioQuery, Query, TextQuery
from qsep.separation.interface import MixtureBatch

LEAST_GAIN, MOST_GAIN = 0.02, 50.0
LEAST_POWER = 1e-10
HEADROOM = 0.9  # of full scale: the peak of what would pass it
SPARE_SECONDS = 0.05  # read beyond a segment, for the resampler's ends
TRIES = 8  # of segments in which something sounds


@dataclass(frozen=True)
class SegmentMixConfig:
    """rule: "audiosep", "uss" or "exact", as the functions here say. max_sources: a mixture has 2 to this
    many, each number equally often. level_db: the target is at most this much above or below the rest."""

    segment_samples: int = 160000
    rule: str = "audiosep"
    max_sources: int = 2
    level_db: int = 10

    def __post_init__(self) -> None:
        if self.rule not in ("audiosep", "uss", "exact"):
            raise ValueError(f"mix.rule is {self.rule!r}; expected 'audiosep', 'uss' or 'exact'")
        if self.max_sources < 2 or (self.rule == "uss" and self.max_sources != 2):
            expected = "2" if self.rule == "uss" else "2 or more"
            raise ValueError(f"mix.max_sources is {self.max_sources}; expected {expected}")


@dataclass(frozen=True)
class CaptionedClip:
    """file: relative to the data folder, or absolute."""

    file: str
    caption: str


def read_captions(folder: Path, split: str) -> tuple[CaptionedClip, ...]:
    """folder/SPLIT.json in AudioSep's form: {"data": [{"wav": FILE, "caption": TEXT}, …]}."""
    path = folder / f"{split}.json"
    if not path.is_file():
        raise ValueError(
            f"{path}: no such file; data.folder must hold {split}.json, "
            'as {"data": [{"wav": "rain.wav", "caption": "rain on a roof"}]}'
        )
    try:
        content = json.loads(path.read_text("utf-8"))
        clips = tuple(CaptionedClip(item["wav"], item["caption"]) for item in content["data"])
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected data with wav and caption each ({error!r})") from error
    missing = [clip.file for clip in clips if not (folder / clip.file).is_file()]
    if missing:
        raise ValueError(
            f"{path}: {len(missing)} of its files are missing, first {folder / missing[0]}"
        )
    if len(clips) < 2:
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
    others = others / np.sqrt(np.maximum(power(others), LEAST_POWER))[:, None]
    wanted = power(target) * 10 ** (level_db / 10)
    others *= np.sqrt(wanted / np.maximum(power(others.sum(axis=0)), LEAST_POWER))
    return unclipped(np.concatenate([target[None], others]).astype(np.float32))


def power(waveform: np.ndarray) -> np.ndarray:
    """Mean square: (..., t) to (...)."""
    return np.square(waveform).mean(axis=-1)


def level_gain(waveform: np.ndarray, reference: np.ndarray, level_db: float) -> np.float32:
    """Brings a waveform to the reference's energy within limits, and from there to level_db."""
    ratio = np.sqrt(power(waveform) / np.maximum(power(reference), LEAST_POWER))
    return np.float32(10 ** (level_db / 20) / np.clip(ratio, LEAST_GAIN, MOST_GAIN))


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
        captions = {clip.caption for clip in clips}
        if config.rule == "exact" and len(captions) < config.max_sources:
            raise ValueError(
                f"{folder}: mixtures of {config.max_sources} captions, of {len(captions)}"
            )
        self.folder, self.clips, self.config, self.by_example = folder, clips, config, by_example
        self.batch_size, self.sample_rate, self.seed = batch_size, sample_rate, seed

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
        query: Query = TextQuery(clip.caption)
        if self.by_example:
            query = AudioQuery(sources[0, 0], sample_rate=self.sample_rate)
        others = [None] * (config.max_sources - 1)
        return torch.from_numpy(sources), [query, *others], f"{self.seed}-{draw}"

    def segment(self, draw: int) -> tuple[CaptionedClip, np.ndarray]:
        """A clip and a random segment of it; every epoch goes through all clips in an order of its own."""
        epoch, position = divmod(draw, len(self.clips))
        clip = self.clips[epoch_order(len(self.clips), self.seed, epoch)[position]]
        return self.cut(clip, np.random.default_rng((self.seed, draw, 3)))

    def cut(
        self, clip: CaptionedClip, rng: np.random.Generator
    ) -> tuple[CaptionedClip, np.ndarray]:
        """Of a clip shorter than a second, another instead, as AudioSep does."""
        for _ in range(TRIES):
            with soundfile.SoundFile(self.folder / clip.file) as file:
                if file.frames >= file.samplerate:
                    return clip, read_segment(
                        file, self.config.segment_samples, self.sample_rate, rng
                    )
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
            if segment.any() and clip.caption not in {other.caption for other, _ in found}:
                found.append(candidate)
            if len(found) == num_sources:
                return found[0][0], np.stack([segment for _, segment in found])
            candidate = self.cut(self.clips[int(rng.integers(len(self.clips)))], rng)
        raise ValueError(f"{self.folder}: too many recordings are silent or share a caption")

    def collate(self, items: list[tuple[torch.Tensor, list[Query | None], str]]) -> MixtureBatch:
        sources = torch.stack([item[0] for item in items])
        queries, ids = [item[1] for item in items], [item[2] for item in items]
        return MixtureBatch(sources.sum(dim=1), sources, queries, self.sample_rate, ids)


def read_segment(
    file: soundfile.SoundFile, num_samples: int, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """A random stretch at sample_rate, mean of the first two channels: (t,) float32, zeros at the end of
    what is shorter."""
    seconds = num_samples / sample_rate + SPARE_SECONDS
    num_needed = math.ceil(seconds * file.samplerate)
    file.seek(int(rng.integers(max(0, file.frames - num_needed) + 1)))
    found = file.read(num_needed, dtype="float32", always_2d=True)[:, :2].mean(axis=1)
    if file.samplerate != sample_rate:
        found = soxr.resample(found, file.samplerate, sample_rate, quality="HQ")
    segment = np.zeros(num_samples, np.float32)
    found = found[:num_samples]
    segment[: len(found)] = found
    return segment


@functools.lru_cache(maxsize=2)
def epoch_order(num_clips: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch, 1)).permutation(num_clips)

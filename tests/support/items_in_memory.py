"""Items made in memory, estimators whose scores are known, and a model that answers to any word."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from qsep.evaluation.interface import NO_PUBLICATION, Item, ItemQuery, Publication


@dataclass(frozen=True)
class Items:
    """Orthogonal tones of equal energy, one of them the target; labels b, a, b."""

    fingerprint: str = "three tones"
    absent: bool = False
    name: str = "custom manifest"
    manifest_sha256: str = "0"
    condition: str = "plain"
    ids: tuple[str, ...] = ("one", "two", "three")
    families: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    publication: Publication = NO_PUBLICATION

    @property
    def item_queries(self) -> list[ItemQuery]:
        return [ItemQuery("a tone", label) for label in "bab"]

    def render(self, index: int) -> Item:
        phase = 2 * np.pi * np.arange(640 + 10 * index) / (640 + 10 * index)
        target, rest = (np.cos(k * phase).astype(np.float32) for k in (5, 11 + index))
        mixture = target + rest
        if self.absent:
            target, rest = np.zeros_like(mixture), mixture
        return Item(self.ids[index], "a tone", "bab"[index], mixture, target, rest, 32000)


@dataclass
class Scaled:
    """An estimator: target + error * rest, so that SDR and SI-SDR are -20 log10(error).

    gain: of the target.
    """

    error: float = 0.1
    name: str = "scaled"
    fingerprint: str = "1"
    fails_on: str = ""
    seen: list[str] = field(default_factory=list)
    gain: float = 1.0
    model: None = None

    def __call__(self, item: Item) -> np.ndarray:
        if item.id == self.fails_on:
            raise RuntimeError("out of luck")
        self.seen.append(item.id)
        return self.gain * item.target + self.error * item.rest


@dataclass(frozen=True)
class ManyItems:
    """Noise, of eleven lengths, three labels and queries; the fourth cannot be rendered."""

    fingerprint: str = "noise"
    name: str = "custom manifest"
    manifest_sha256: str = "1"
    condition: str = "plain"
    ids: tuple[str, ...] = tuple(f"{'bad' if i == 3 else 'item'}{i}" for i in range(11))
    item_queries: tuple[ItemQuery, ...] = tuple(
        ItemQuery(f"query {i % 3}", f"label_{i % 3}", ("other",)) for i in range(11)
    )
    families: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    publication: Publication = NO_PUBLICATION

    def render(self, index: int) -> Item:
        if index == 3:
            raise ValueError("not to be had")
        noise = np.random.default_rng(index).normal(0, 0.1, (2, 6000 + 977 * index))
        target, rest = noise.astype(np.float32)
        item_query = self.item_queries[index]
        mixture = target + rest
        return Item(
            self.ids[index], *item_query[:2], mixture, target, rest, 16000, item_query.others
        )


@dataclass
class WordModel:
    """A model as qsep.separation gives it, that halves the mixture, or filters it by the query."""

    name: str = "half"
    fingerprint: str = "2"
    calls: list[tuple[str, int | None]] = field(default_factory=list)
    filtered: bool = False

    def separate(self, audio: np.ndarray, query: str, sample_rate: int | None = None) -> object:
        self.calls.append((query, sample_rate))
        if not self.filtered:
            return SimpleNamespace(target=0.5 * audio)
        # A convolution shared among threads rounds otherwise than one that is not.
        taps = torch.linspace(-0.3, 0.5, 8 * 3 * (6 + len(query))).reshape(8, 1, -1)
        spread = torch.nn.functional.conv1d(torch.from_numpy(audio)[None], taps, padding="same")
        return SimpleNamespace(target=spread.mean(dim=0))

    def with_masks(self, hard: bool, noise: str) -> list["WordModel"]:
        return [self]


def rows_of(folder: Path) -> list[list[str]]:
    with (folder / "items.csv").open(newline="") as file:
        return list(csv.reader(file))

"""Test conditions for the items of any protocol: the same items, made harder in one respect."""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from qsep.separation.signal.arrays import plane_wave
from qsep.separation.signal.mixing import gain_for_snr

from ..interface import Item, ItemQuery, ItemSet, Publication

Waveform = NDArray[np.float32]
TEMPLATES = (  # none of them is used in training, see recipes/data/wording.py
    "{}",
    "a field recording of {}",
    "the noise made by {}",
    "a photo of {}",
    "could you pull {} out of the mix for me?",
    "{}!!!",
)
NEGATIONS = ("everything except {}", "all sounds but not {}", "remove {}")
SNRS_DB = (-10, -5, 0, 5, 10)
NUM_SOURCES = (2, 3, 4, 5)
CLIP_LEVEL = 0.25  # of the mixture's peak
CORNER_HZ = 1000.0  # of the filters of `coloured`
SPACING_METERS = 0.15  # about that of the ears
NUM_SIDES = 180  # from which sounds come, on a half circle
FAMILIES_FILE = Path(__file__).with_name("families.toml")


@dataclass(frozen=True)
class Variant:
    """An item with another query. partners: indices of the items whose targets replace its rest."""

    index: int
    item_query: ItemQuery
    setting: str = ""
    partners: tuple[int, ...] = ()


@dataclass(frozen=True)
class Suite:
    """An ItemSet of variants of the items of another ItemSet, `base`."""

    base: ItemSet
    condition: str
    variants: tuple[Variant, ...]

    @property
    def name(self) -> str:
        """Same as the base's."""
        return self.base.name

    @property
    def manifest_sha256(self) -> str:
        """Same as the base's."""
        return self.base.manifest_sha256

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the base's fingerprint, the condition and the variants."""
        content = [self.base.fingerprint, self.condition, [asdict(v) for v in self.variants]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def ids(self) -> list[str]:
        """Ids of the base, followed by @SETTING if the condition has settings."""
        base_ids = self.base.ids
        return [base_ids[v.index] + (f"@{v.setting}" if v.setting else "") for v in self.variants]

    @property
    def item_queries(self) -> list[ItemQuery]:
        """The query and labels of each variant."""
        return [variant.item_query for variant in self.variants]

    @property
    def families(self) -> Mapping[str, tuple[str, ...]]:
        """Same as the base's."""
        return self.base.families

    @property
    def publication(self) -> Publication:
        """The base's way of setting up an estimator; its scores are not those of changed items."""
        return Publication(set_up=self.base.publication.set_up)

    def render(self, index: int) -> Item:
        """The base's item under the condition; ValueError if it cannot be put under it."""
        variant = self.variants[index]
        item = self.base.render(variant.index)
        if variant.partners:
            item = with_rest(item, [self.base.render(i) for i in variant.partners])
        item = SUITES[self.condition].change(item, variant.setting)
        return replace(
            item, id=self.ids[index], setting=variant.setting, **variant.item_query._asdict()
        )


def suite(items: ItemSet, condition: str, others: Sequence[str] = ("plain",)) -> ItemSet:
    """The items under a condition of SUITES. others: the protocol's own conditions, for the message.

    Raises ValueError for an unknown condition, or if no item can be put under it.
    """
    if condition not in SUITES:
        known = ", ".join(dict.fromkeys([*others, *SUITES]))
        raise ValueError(f"no condition is called {condition!r}; there are {known}")
    variants = tuple(SUITES[condition].variants(items))
    if not variants:
        raise ValueError(f"no item of {items.name} can be put under the condition {condition}")
    return Suite(items, condition, variants)


def templates(items: ItemSet) -> Iterator[Variant]:
    """The query in each of TEMPLATES."""
    for index, item_query in enumerate(items.item_queries):
        for template in TEMPLATES:
            query = template.format(item_query.query)
            yield Variant(index, item_query._replace(query=query), template.format("…"))


def negations(items: ItemSet) -> Iterator[Variant]:
    """The query asks for everything but the target, in each of NEGATIONS; the rest is what is scored."""
    for index, item_query in enumerate(items.item_queries):
        for negation in NEGATIONS:
            query = negation.format(item_query.query)
            yield Variant(index, item_query._replace(query=query), negation.format("…"))


def absent(items: ItemSet) -> Iterator[Variant]:
    """The query asks for a label of another item that is not in the mixture."""
    queries = {item_query.label: item_query.query for item_query in items.item_queries}
    for index, item_query in enumerate(items.item_queries):
        present = (item_query.label, *item_query.others)
        candidates = sorted(queries.keys() - set(present))
        if candidates:
            label = candidates[_draw(items.ids[index]) % len(candidates)]
            yield Variant(index, ItemQuery(queries[label], label, present))


def snr_sweep(items: ItemSet) -> Iterator[Variant]:
    """The target at each SNR of SNRS_DB in dB."""
    for index, item_query in enumerate(items.item_queries):
        for snr_db in SNRS_DB:
            yield Variant(index, item_query, f"{snr_db} dB")


def source_counts(items: ItemSet) -> Iterator[Variant]:
    """The target with targets of 1 to 4 other items, all of different labels, each at 0 dB SNR."""
    for index, item_query in enumerate(items.item_queries):
        partners: dict[str, int] = {}
        for other in sorted(range(len(items.ids)), key=lambda i: _draw(items.ids[index], i)):
            label = items.item_queries[other].label
            if label != item_query.label and len(partners) < max(NUM_SOURCES) - 1:
                partners.setdefault(label, other)
        for num_sources in NUM_SOURCES:
            if num_sources - 1 <= len(partners):
                labels = tuple(partners)[: num_sources - 1]
                chosen = tuple(partners[label] for label in labels)
                setting = f"{num_sources} sources"
                yield Variant(index, item_query._replace(others=labels), setting, chosen)


def same_family(items: ItemSet) -> Iterator[Variant]:
    """The target with one of another label of its family, such as another bowed string, at 0 dB SNR."""
    families = tomllib.loads(FAMILIES_FILE.read_text(encoding="utf-8"))
    for index, item_query in enumerate(items.item_queries):
        relatives = {
            label
            for members in families.values()
            if _plain(item_query.label) in members
            for label in members
        } - {_plain(item_query.label)}
        candidates = [
            i for i, other in enumerate(items.item_queries) if _plain(other.label) in relatives
        ]
        if candidates:
            partner = candidates[_draw(items.ids[index]) % len(candidates)]
            others = (items.item_queries[partner].label,)
            yield Variant(index, item_query._replace(others=others), "", (partner,))


def clipping(items: ItemSet) -> Iterator[Variant]:
    """The mixture clipped at CLIP_LEVEL of its peak; the target stays unclipped."""
    return (Variant(index, item_query) for index, item_query in enumerate(items.item_queries))


def colours(items: ItemSet) -> Iterator[Variant]:
    """Dull or thin recordings: target and rest through a first-order filter at CORNER_HZ."""
    for index, item_query in enumerate(items.item_queries):
        for colour in ("dull", "thin"):
            yield Variant(index, item_query, colour)


def two_microphones(items: ItemSet) -> Iterator[Variant]:
    """The mixture at two microphones; target and rest are scored at the first."""
    return (Variant(index, item_query) for index, item_query in enumerate(items.item_queries))


def unchanged(item: Item, setting: str) -> Item:
    """The item as it is."""
    return item


def swapped(item: Item, setting: str) -> Item:
    """Target and rest exchanged."""
    return replace(item, target=item.rest, rest=item.target)


def silenced(item: Item, setting: str) -> Item:
    """A silent target; the rest is the whole mixture."""
    return replace(item, target=np.zeros_like(item.mixture), rest=item.mixture)


def at_snr(item: Item, setting: str) -> Item:
    """The rest scaled for the SNR of the setting, as "-5 dB"."""
    snr_db = float(setting.removesuffix(" dB"))
    return mixed(item, item.target, item.rest * gain_of_rest(item.target, item.rest, snr_db))


def clipped(item: Item, setting: str) -> Item:
    """The mixture clipped at CLIP_LEVEL of its peak; the rest takes up the difference."""
    limit = CLIP_LEVEL * np.abs(item.mixture).max()
    mixture = item.mixture.clip(-limit, limit)
    return replace(item, mixture=mixture, rest=mixture - item.target)


def coloured(item: Item, setting: str) -> Item:
    """Low-passed if dull, high-passed if thin: gain 1 / sqrt(1 + r^2), r = f / f0 or f0 / f, zero phase."""
    num_samples = len(item.mixture)
    hz = np.fft.rfftfreq(2 * num_samples, 1 / item.sample_rate)
    low, high = 1 / np.hypot(1, hz / CORNER_HZ), hz / np.hypot(CORNER_HZ, hz)
    response = low if setting == "dull" else high
    parts = [
        np.fft.irfft(response * np.fft.rfft(part, 2 * num_samples))[:num_samples]
        for part in (item.target, item.rest)
    ]
    return mixed(item, *parts)


def at_two_microphones(item: Item, setting: str) -> Item:
    """Target and rest as plane waves at microphones SPACING_METERS apart, each from a side of its own.

    The first microphone hears both as they are. Sides are drawn by hashes of the id.
    """
    second = np.zeros_like(item.mixture)
    for name, part in (("target", item.target), ("rest", item.rest)):
        angle = math.pi * (_draw(item.id, name) % NUM_SIDES) / NUM_SIDES
        second += plane_wave(part, angle, 2, SPACING_METERS, item.sample_rate)[1]
    return replace(item, other_microphones=second[None])


def with_rest(item: Item, partners: Sequence[Item]) -> Item:
    """The item with other items' targets as its rest, each cut or zero-padded and at 0 dB SNR.

    Raises ValueError for another sample rate, or a silent target.
    """
    rest = np.zeros(len(item.target))
    for partner in partners:
        if partner.sample_rate != item.sample_rate:
            raise ValueError(
                f"{partner.id} has {partner.sample_rate} Hz and {item.id} {item.sample_rate} Hz"
            )
        other = np.zeros(len(rest))
        other[: len(partner.target)] = partner.target[: len(rest)]
        rest += other * gain_of_rest(item.target, other, 0.0)
    return mixed(item, item.target, rest)


def gain_of_rest(target: NDArray[np.floating], rest: NDArray[np.floating], snr_db: float) -> float:
    """Gain of the rest (t,) for an SNR in dB of the target (t,); ValueError if either is silent."""
    if not (target.any() and rest.any()):
        raise ValueError("the target or what it is mixed with is silent, so no SNR can be set")
    parts = [torch.from_numpy(part.astype(np.float64))[None] for part in (target, rest)]
    return float(gain_for_snr(parts[0], parts[1], snr_db))


def mixed(item: Item, target: NDArray[np.floating], rest: NDArray[np.floating]) -> Item:
    """The item with these parts, all divided by the mixture's peak if it exceeds 1."""
    peak = max(1.0, float(np.abs(target + rest).max()))
    target, rest = ((part / peak).astype(np.float32) for part in (target, rest))
    return replace(item, mixture=target + rest, target=target, rest=rest)


@dataclass(frozen=True)
class Kind:
    """A condition. variants: the items and queries; change: what is done to an item, given its setting."""

    variants: Callable[[ItemSet], Iterator[Variant]]
    change: Callable[[Item, str], Item] = unchanged


SUITES = {
    "templates": Kind(templates),
    "negation": Kind(negations, swapped),
    "absent": Kind(absent, silenced),
    "snr-sweep": Kind(snr_sweep, at_snr),
    "num-sources": Kind(source_counts),
    "same-family": Kind(same_family),
    "clipped": Kind(clipping, clipped),
    "coloured": Kind(colours, coloured),
    "two-microphones": Kind(two_microphones, at_two_microphones),
}


def _draw(*key: object) -> int:
    """A number from a hash: NumPy does not guarantee the same random stream across versions."""
    return int.from_bytes(hashlib.sha256(json.dumps(key).encode()).digest()[:8])


def _plain(label: str) -> str:
    return label.replace("_", " ").lower()

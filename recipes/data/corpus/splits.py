"""Which recordings are trained on and which are kept to measure by: whole groups, drawn by a hash."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence


class Joined:
    """Sets of places that belong together (union-find)."""

    def __init__(self, num: int) -> None:
        self.parents = list(range(num))

    def root(self, place: int) -> int:
        while self.parents[place] != place:
            self.parents[place] = self.parents[self.parents[place]]
            place = self.parents[place]
        return place

    def join(self, first: int, second: int) -> None:
        self.parents[self.root(second)] = self.root(first)


def whole_groups(groups: Sequence[str], same: Iterable[tuple[int, int]]) -> list[int]:
    """For each recording one that stands for its group. groups: their names, "" for one of its own. same:
    pairs of recordings that must stay together besides."""
    joined = Joined(len(groups))
    firsts: dict[str, int] = {}
    for place, name in enumerate(groups):
        if name:
            joined.join(firsts.setdefault(name, place), place)
    for first, second in same:
        joined.join(first, second)
    return [joined.root(place) for place in range(len(groups))]


def draw_splits(
    labels: Sequence[str], groups: Sequence[str], shares: Mapping[str, float], seed: int
) -> list[str]:
    """A split for each recording: those of shares, or "train" for the rest.

    Groups are taken in an order as good as drawn, the same on every machine. shares: of each label's
    recordings, to be had as nearly as whole groups allow: every label gets one group into each split while it
    has more than one, and never gives away its last.
    """
    members: dict[str, list[str]] = {}
    for label, group in zip(labels, groups, strict=True):
        members.setdefault(group, []).append(label)
    total = Counter(labels)
    left = Counter(label for own in members.values() for label in set(own))
    chosen: dict[str, str] = {}
    for split, share in shares.items():
        taken: Counter[str] = Counter()
        for group in sorted(members, key=lambda group: draw(seed, group)):
            counts = Counter(members[group])
            wanted = any(taken[label] < share * total[label] for label in counts)
            fits = all(
                not taken[label] or taken[label] + num / 2 <= share * total[label]
                for label, num in counts.items()
            )
            spare = all(left[label] > 1 for label in counts)
            if group not in chosen and wanted and fits and spare:
                chosen[group] = split
                taken.update(counts)
                left.subtract(set(counts))
    return [chosen.get(group, "train") for group in groups]


def draw(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed} {name}".encode()).digest()

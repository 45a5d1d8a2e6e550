"""Random splits into train, dev and test that keep groups together."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence


class Joined:
    """Disjoint sets of the numbers 0 to num - 1 (union-find)."""

    def __init__(self, num: int) -> None:
        self.parents = list(range(num))

    def root(self, index: int) -> int:
        """The number that represents the set of a number."""
        while self.parents[index] != index:
            self.parents[index] = self.parents[self.parents[index]]
            index = self.parents[index]
        return index

    def join(self, first: int, second: int) -> None:
        """Unite the sets of two numbers."""
        self.parents[self.root(second)] = self.root(first)


def whole_groups(groups: Sequence[str], same: Iterable[tuple[int, int]]) -> list[int]:
    """For each recording the index of one that represents its group.

    groups: name of each recording's group, "" for none. same: further pairs that must stay together.
    """
    joined = Joined(len(groups))
    firsts: dict[str, int] = {}
    for index, name in enumerate(groups):
        if name:
            joined.join(firsts.setdefault(name, index), index)
    for first, second in same:
        joined.join(first, second)
    return [joined.root(index) for index in range(len(groups))]


def draw_splits(
    labels: Sequence[str], groups: Sequence[str], shares: Mapping[str, float], seed: int
) -> list[str]:
    """A split for each recording: those of shares, or "train" for the rest.

    labels, groups: of each recording. shares: of each label's recordings, approximated with whole groups.
    Every label gets a group in each split as long as it has more than one left for train. The order of groups
    is a hash of seed and name, so that it is the same on every machine.
    """
    members: dict[str, list[str]] = {}
    for label, group in zip(labels, groups, strict=True):
        members.setdefault(group, []).append(label)
    total = Counter(labels)
    num_left = Counter(label for group in members.values() for label in set(group))
    chosen: dict[str, str] = {}
    for split, share in shares.items():
        assigned: Counter[str] = Counter()
        for group in sorted(members, key=lambda group: draw(seed, group)):
            counts = Counter(members[group])
            needed = any(assigned[label] < share * total[label] for label in counts)
            fits = all(
                not assigned[label] or assigned[label] + num / 2 <= share * total[label]
                for label, num in counts.items()
            )
            spare = all(num_left[label] > 1 for label in counts)
            if group not in chosen and needed and fits and spare:
                chosen[group] = split
                assigned.update(counts)
                num_left.subtract(set(counts))
    return [chosen.get(group, "train") for group in groups]


def draw(seed: int, name: str) -> bytes:
    """A key that sorts names in a random order, the same on every machine."""
    return hashlib.sha256(f"{seed} {name}".encode()).digest()

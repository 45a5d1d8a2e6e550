"""Probabilities of sounds over the time of a recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .hierarchy import LEAF, Group, Level, Sound, groups_at, leaf, most_specific


@dataclass(frozen=True)
class Guess:
    """The likeliest class of a sound that is named by a family, and the probability that it is that class."""

    name: str
    probability: float


@dataclass(frozen=True)
class Activity:
    """probabilities: (sounds, n) in [0, 1], for steps of step_seconds from the start; the last step may
    end after the recording, which is `seconds` long. threshold: a sound is active where its probability
    is at least this. guesses: of the active families, by the indices of their sounds."""

    sounds: tuple[Sound, ...]
    probabilities: NDArray[np.float32]
    step_seconds: float
    seconds: float
    threshold: float
    guesses: Mapping[int, Guess] = field(default_factory=dict)

    def of(self, members: Sequence[int]) -> NDArray[np.float32]:
        """Probability of a node, (n,): the maximum over its members."""
        return self.probabilities[list(members)].max(axis=0)

    def guess(self, group: Group) -> Guess | None:
        """Of a family; None for other nodes."""
        return self.guesses.get(group.members[0]) if len(group.members) == 1 else None

    def active(self) -> list[int]:
        """Indices of the sounds that are active at some time."""
        return np.flatnonzero(self.probabilities.max(axis=1) >= self.threshold).tolist()

    def groups(self, levels: Sequence[Level]) -> list[Group]:
        """The active nodes at the levels, each once, in the ontology's order. Leaves that lie above
        other active leaves are left out."""
        active = set(self.active())
        by_path: dict[tuple[str, ...], Group] = {}
        for level in levels:
            if level == LEAF:
                groups = [leaf(self.sounds, each) for each in most_specific(self.sounds, active)]
            else:
                groups = [g for g in groups_at(self.sounds, level) if active & {*g.members}]
            for group in groups:
                by_path.setdefault((*group.ancestors, group.name), group)
        return list(by_path.values())

    def spans(self, members: Sequence[int]) -> list[tuple[float, float]]:
        """Times at which a node is active: (start, end) in seconds, in order, without overlap."""
        is_active = np.concatenate([[0], self.of(members) >= self.threshold, [0]]).astype(np.int8)
        edges = np.flatnonzero(np.diff(is_active)) * self.step_seconds
        return [
            (float(start), float(min(end, self.seconds)))
            for start, end in zip(edges[::2], edges[1::2], strict=True)
        ]

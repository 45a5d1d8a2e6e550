"""Sounds that a detector tells apart, and the nodes of AudioSet's ontology above them.

At level n of the hierarchy a sound belongs to the n-th node of its path; one that ends above, and has nothing
below it, to its last (USS has levels without these). "leaf" is each sound by itself.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from qsep.queries.audioset import audioset, class_nodes

KINDS = Path(__file__).with_name("kinds.toml")
Level = int | str  # 1 for AudioSet's roots, 2 … below them, or LEAF
LEAF = "leaf"


@dataclass(frozen=True)
class Sound:
    """name: what it is called and asked for by. path: names of AudioSet's nodes from the root to the sound's
    own, whose machine-readable name is mid; empty where it has no place in the ontology."""

    name: str
    path: tuple[str, ...] = ()
    mid: str = ""


@dataclass(frozen=True)
class Group:
    """A node at a level. members: numbers of the sounds in it; ancestors: the nodes above, from the root."""

    name: str
    level: Level
    ancestors: tuple[str, ...]
    mid: str
    members: tuple[int, ...]


def sounds_of_audioset() -> tuple[Sound, ...]:
    """The 527 classes in the order of their numbers."""
    return tuple(Sound(node.name, node.path, node.mid) for node in class_nodes())


def sounds_of_kinds(kinds: Sequence[str], names: Sequence[str] | None = None) -> tuple[Sound, ...]:
    """The kinds that a model of ours knows; those that kinds.toml does not list have no nodes above them.

    names: what the sounds are called, by default as the kinds are.
    """
    places = tomllib.loads(KINDS.read_text("utf-8"))
    nodes = {kind: audioset()[places[kind]] for kind in kinds if kind in places}
    return tuple(
        Sound(name, nodes[kind].path, nodes[kind].mid) if kind in nodes else Sound(name)
        for kind, name in zip(kinds, names or kinds, strict=True)
    )


def below(sounds: Sequence[Sound], path: tuple[str, ...]) -> tuple[int, ...]:
    """The numbers of the sounds at the node that a path leads to, and under it."""
    return tuple(number for number, sound in enumerate(sounds) if sound.path[: len(path)] == path)


def is_above(one: Sound, other: Sound) -> bool:
    """Whether one is a node of the ontology itself, and the other lies under it."""
    is_node = bool(one.path) and one.path[-1] == one.name
    return is_node and len(one.path) < len(other.path) and other.path[: len(one.path)] == one.path


def most_specific(sounds: Sequence[Sound], active: Collection[int]) -> list[int]:
    """The active sounds without those above another active one: "Dog" says nothing beside "Bark"."""
    return [
        number
        for number in sorted(active)
        if not any(is_above(sounds[number], sounds[other]) for other in active)
    ]


def groups_at(sounds: Sequence[Sound], level: Level) -> list[Group]:
    """The nodes at a level that have sounds, in the order of these. ValueError for no such level."""
    if level == LEAF:
        return [leaf(sounds, number) for number in range(len(sounds))]
    if not isinstance(level, int) or level < 1:
        raise ValueError(f"level {level!r}: expected 1, 2, 3 … or {LEAF}")
    inner = {sound.path[:depth] for sound in sounds for depth in range(len(sound.path))}
    found: dict[tuple[str, ...], Group] = {}
    for number, sound in enumerate(sounds):
        if not sound.path:
            found[(sound.name,)] = leaf(sounds, number)
        elif len(sound.path) >= level or sound.path not in inner:
            path = sound.path[:level]
            mid = audioset()[path[-1]].mid
            found.setdefault(path, Group(path[-1], level, path[:-1], mid, below(sounds, path)))
    return list(found.values())


def leaf(sounds: Sequence[Sound], number: int) -> Group:
    """A sound by itself, with those under it. A kind of our own lies under the node that names it."""
    sound = sounds[number]
    own = bool(sound.path) and sound.path[-1] == sound.name
    members = below(sounds, sound.path) if own else (number,)
    return Group(sound.name, LEAF, sound.path[: -1 if own else None], sound.mid, members)

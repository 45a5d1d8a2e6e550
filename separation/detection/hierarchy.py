"""Sounds that a detector tells apart, and the nodes of AudioSet's ontology above them.

At level n of the hierarchy a sound belongs to the n-th node of its path, or to its last node if the
path is shorter and nothing lies below it (in USS such sounds are missing at that level). Level "leaf"
is each sound by itself.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qsep.queries.audioset import Node, audioset, class_nodes
from qsep.queries.reading.book import Entry

CLASSES = Path(__file__).with_name("classes.toml")
Level = int | str  # 1 for AudioSet's roots, 2, 3 … below them, or LEAF
LEAF = "leaf"


@dataclass(frozen=True)
class Sound:
    """name: also the text query for it. path: names of AudioSet's nodes from the root to the sound's
    own node, whose machine id is mid; empty if the sound is not in the ontology. members: the model's classes
    that it is, for models that are queried by classes."""

    name: str
    path: tuple[str, ...] = ()
    mid: str = ""
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """A node at a level. members: indices of the sounds in it; ancestors: the nodes above it, from the
    root."""

    name: str
    level: Level
    ancestors: tuple[str, ...]
    mid: str
    members: tuple[int, ...]


def sounds_of_audioset() -> tuple[Sound, ...]:
    """AudioSet's 527 classes in the order of their indices."""
    return tuple(Sound(node.name, node.path, node.mid) for node in class_nodes())


def sounds_of_classes(
    classes: Sequence[str], names: Sequence[str] | None = None
) -> tuple[Sound, ...]:
    """A model's sound classes, with their nodes in the ontology as far as classes.toml lists them.

    names: names of the sounds, by default those of the classes.
    """
    nodes = nodes_of(classes, tomllib.loads(CLASSES.read_text("utf-8")))
    return tuple(
        Sound(name, nodes[label].path, nodes[label].mid, (label,))
        if label in nodes
        else Sound(name, members=(label,))
        for label, name in zip(classes, names or classes, strict=True)
    )


def sounds_of_families(families: Mapping[str, Entry]) -> tuple[Sound, ...]:
    """The families by which sounds can be named, see classes.toml, the smallest first."""
    nodes = nodes_of(families, tomllib.loads(CLASSES.read_text("utf-8"))["families"])
    sounds = [
        Sound(families[label].name, node.path, node.mid, families[label].members)
        for label, node in nodes.items()
    ]
    return tuple(sorted(sounds, key=lambda sound: len(sound.members)))


def nodes_of(labels: Iterable[str], names: Mapping[str, Any]) -> dict[str, Node]:
    """The ontology's node of each label that has a name in it."""
    return {label: audioset()[names[label]] for label in labels if label in names}


def below(sounds: Sequence[Sound], path: tuple[str, ...]) -> tuple[int, ...]:
    """Indices of the sounds at the node with this path, and below it."""
    return tuple(number for number, sound in enumerate(sounds) if sound.path[: len(path)] == path)


def is_above(one: Sound, other: Sound) -> bool:
    """Whether `one` is a node of the ontology and `other` lies below it."""
    is_node = bool(one.path) and one.path[-1] == one.name
    return is_node and len(one.path) < len(other.path) and other.path[: len(one.path)] == one.path


def most_specific(sounds: Sequence[Sound], active: Collection[int]) -> list[int]:
    """Indices of the active sounds, without those above another active one: "Dog" adds nothing to
    "Bark"."""
    return [
        number
        for number in sorted(active)
        if not any(is_above(sounds[number], sounds[other]) for other in active)
    ]


def own_members(sounds: Sequence[Sound]) -> list[tuple[str, ...]]:
    """The classes of each sound, without those of smaller ones, unless none would remain."""
    result = []
    for sound in sounds:
        smaller = {
            label
            for other in sounds
            if len(other.members) < len(sound.members)
            for label in other.members
        }
        rest = tuple(label for label in sound.members if label not in smaller)
        result.append(rest or sound.members)
    return result


def groups_at(sounds: Sequence[Sound], level: Level) -> list[Group]:
    """The nodes at a level that contain sounds, in the order of these. ValueError if there is no such
    level."""
    if level == LEAF:
        return [leaf(sounds, number) for number in range(len(sounds))]
    if not isinstance(level, int) or level < 1:
        raise ValueError(f"level {level!r}: expected 1, 2, 3 … or {LEAF}")
    inner = {sound.path[:depth] for sound in sounds for depth in range(len(sound.path))}
    by_path: dict[tuple[str, ...], Group] = {}
    for number, sound in enumerate(sounds):
        if not sound.path:
            by_path[(sound.name,)] = leaf(sounds, number)
        elif len(sound.path) >= level or sound.path not in inner:
            path = sound.path[:level]
            mid = audioset()[path[-1]].mid
            by_path.setdefault(path, Group(path[-1], level, path[:-1], mid, below(sounds, path)))
    return list(by_path.values())


def leaf(sounds: Sequence[Sound], number: int) -> Group:
    """The group of one sound and those below it. A class of ours that is no node itself stands alone."""
    sound = sounds[number]
    is_node = bool(sound.path) and sound.path[-1] == sound.name
    members = below(sounds, sound.path) if is_node else (number,)
    return Group(sound.name, LEAF, sound.path[: -1 if is_node else None], sound.mid, members)

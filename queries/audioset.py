"""AudioSet's ontology (Gemmeke et al. 2017): a tree of 632 kinds of sound, 527 of them classes of taggers.

A path from one of the seven roots is, for example, Animal > Domestic animals, pets > Dog > Bark. The source
of the table is given in audioset.tsv.
"""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).with_name("audioset.tsv")


@dataclass(frozen=True)
class Node:
    """A kind of sound. mid: AudioSet's machine id. index: 0 to 526, or None if it is not a class.
    path: names from the root to this node."""

    mid: str
    name: str
    index: int | None
    path: tuple[str, ...]


@functools.cache
def audioset() -> dict[str, Node]:
    """All nodes by name, parents before children, in the ontology's order."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader((row for row in file if row[0] != "#"), delimiter="\t"))
    nodes: dict[str, Node] = {}
    names = {"": ""}
    for row in rows:
        parent = nodes.get(names[row["parent"]])
        path = (*(parent.path if parent else ()), row["name"])
        index = int(row["index"]) if row["index"] else None
        nodes[row["name"]] = Node(row["mid"], row["name"], index, path)
        names[row["mid"]] = row["name"]
    return nodes


@functools.cache
def class_nodes() -> tuple[Node, ...]:
    """The 527 classes, sorted by index."""
    classes = [node for node in audioset().values() if node.index is not None]
    return tuple(sorted(classes, key=lambda node: node.index or 0))

"""AudioSet's ontology: 632 kinds of sound as a tree, 527 of which are the classes of its taggers.

Seven roots, such as Animal; Animal > Domestic animals, pets > Dog > Bark is a path of four levels. The table,
audioset.tsv, says where it is from.
"""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).with_name("audioset.tsv")


@dataclass(frozen=True)
class Node:
    """mid: AudioSet's name of it for machines. index: of the class, 0 to 526, None where it is none.
    path: names from the root down to its own."""

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
    """The 527 classes in the order of their numbers."""
    classes = [node for node in audioset().values() if node.index is not None]
    return tuple(sorted(classes, key=lambda node: node.index or 0))

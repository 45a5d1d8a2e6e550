"""Mixtures of two sounds for models of a few kinds: every kind against every other.

The recordings are the targets of sounds150's dev-2 and dev-3, about four of each kind. Each pair of kinds is
mixed once, at equal power, and both kinds are asked for.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from itertools import permutations

from qsep.evaluation.items.manifest import COLUMNS
from qsep.evaluation.protocols.sounds150 import CORPUS

SOURCES = ("dev-2", "dev-3")


def pairs_manifest(labels: Sequence[str]) -> str:
    """The manifest of all ordered pairs of these kinds, as CSV; ValueError for kinds that SOURCES lack."""
    recordings: dict[str, dict[str, dict[str, str]]] = {label: {} for label in labels}
    for source in SOURCES:
        with CORPUS.manifest_path(source).open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                if row["target_label"] in recordings:
                    recordings[row["target_label"]].setdefault(row["target"], row)
    if lacking := [label for label, of_label in recordings.items() if not of_label]:
        raise ValueError(f"{' and '.join(SOURCES)} of {CORPUS.name} have no {', '.join(lacking)}")
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for (i, first), (j, second) in permutations(enumerate(labels), 2):
        take = i + j  # the same for both orders, so that the mixture is the same
        target, interferer = (
            list(recordings[label].values())[take % len(recordings[label])]
            for label in (first, second)
        )
        writer.writerow(
            {
                "id": f"{first}-{second}",
                "query": target["query"],
                "seconds": target["seconds"],
                "snr_db": "0.000",
                "target": target["target"],
                "target_start": target["target_start"],
                "target_label": first,
                "interferers": interferer["target"],
                "interferer_starts": interferer["target_start"],
                "interferer_labels": second,
            }
        )
    return text.getvalue()

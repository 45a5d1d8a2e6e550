"""How often a text-audio encoder names what a recording is.

    python -m qsep.recipes.benchmarks.quality.zero_shot --data DIR

Each recording is given the kind whose wording lies nearest; the wordings are held out of all training.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from qsep.evaluation.protocols.sounds21 import CORPUS
from qsep.queries.interface import AudioQuery, QueryEncoder, TextQuery


@dataclass(frozen=True)
class ZeroShot:
    """Accuracies in [0, 1]. by_wording: with the k-th wording of every kind, one value a k;
    averaged: with the mean of each kind's wordings; by_label: of the latter."""

    num_recordings: int
    by_wording: tuple[float, ...]
    averaged: float
    by_label: dict[str, float]


def zero_shot(
    encoder: QueryEncoder, recordings: Sequence[tuple[Path, str]], wordings: dict[str, list[str]]
) -> ZeroShot:
    """recordings: files with their labels; wordings: as many of each label. Elizalde et al. 2023, sec. 3."""
    labels = sorted(wordings)
    truth = torch.tensor([labels.index(label) for _, label in recordings])
    sounds = encoder.encode([AudioQuery(file) for file, _ in recordings]).pooled
    words = torch.stack(
        [encoder.encode([TextQuery(text) for text in wordings[label]]).pooled for label in labels]
    )  # (labels, wordings, d)

    def hits(kinds: Tensor) -> Tensor:
        return (sounds @ torch.nn.functional.normalize(kinds, dim=-1).T).argmax(dim=-1) == truth

    averaged = hits(words.mean(dim=1))
    return ZeroShot(
        len(recordings),
        tuple(hits(kinds).float().mean().item() for kinds in words.unbind(dim=1)),
        averaged.float().mean().item(),
        {
            label: averaged[truth == index].float().mean().item()
            for index, label in enumerate(labels)
            if bool((truth == index).any())
        },
    )


def labelled_recordings(folder: Path, split: str) -> list[tuple[Path, str]]:
    """Of folder/clips.csv, columns file, label and split."""
    with (folder / "clips.csv").open(newline="", encoding="utf-8") as file:
        return [
            (folder / row["file"], row["label"])
            for row in csv.DictReader(file)
            if row["split"] == split
        ]


def main() -> None:
    from qsep.queries.encoders.joint import Config, build

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of sounds21")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--encoder", help="folder of a joint encoder; default: the one shipped")
    arguments = parser.parse_args()
    found = zero_shot(
        build(Config(arguments.encoder)),
        labelled_recordings(arguments.data, arguments.split),
        CORPUS.wordings["wordings"],
    )
    for label, accuracy in found.by_label.items():
        print(f"{label:20} {accuracy:6.1%}")
    alone = sum(found.by_wording) / len(found.by_wording)
    print(
        f"{found.num_recordings} recordings: {alone:.1%} by one wording a kind (mean over "
        f"{len(found.by_wording)}), {found.averaged:.1%} by all of them"
    )


if __name__ == "__main__":
    main()

"""Zero-shot classification of recordings by a text-audio encoder.

    python -m qsep.recipes.benchmarks.quality.zero_shot --data DIR [--corpus sounds21]

Each recording is classified as the kind with the nearest wording; the wordings are held out of training.
--seconds and --rate: of each recording only an active stretch of this length, resampled to this rate, as a
loss that judges short estimates of a separator at that rate hears it.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from qsep.evaluation.protocols import sounds21, sounds150
from qsep.queries.interface import AudioQuery, QueryEncoder, TextQuery
from qsep.separation.audio.reader import read_mono

from ...data.mixtures.mix_and_separate import active_stretch
from ...errors import run_script

CORPORA = {corpus.name: corpus for corpus in (sounds150.CORPUS, sounds21.CORPUS)}


@dataclass(frozen=True)
class ZeroShot:
    """Accuracies in [0, 1]. by_wording: with the k-th wording of every kind, for each k.

    averaged: with the mean of each kind's wordings; by_label: the same for each label.
    """

    num_recordings: int
    by_wording: tuple[float, ...]
    averaged: float
    by_label: dict[str, float]


def zero_shot(
    encoder: QueryEncoder,
    recordings: Sequence[tuple[AudioQuery, str]],
    wordings: dict[str, list[str]],
) -> ZeroShot:
    """Accuracies of an encoder, after Elizalde et al. 2023, sec. 3.

    recordings: with their labels; wordings: the same number for each label.
    """
    labels = sorted(wordings)
    truth = torch.tensor([labels.index(label) for _, label in recordings])
    sounds = encoder.encode([recording for recording, _ in recordings]).pooled
    # (labels, wordings, d).
    words = torch.stack(
        [encoder.encode([TextQuery(text) for text in wordings[label]]).pooled for label in labels]
    )

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
    """Files and labels of a split in folder/clips.csv."""
    with (folder / "clips.csv").open(newline="", encoding="utf-8") as file:
        return [
            (folder / row["file"], row["label"])
            for row in csv.DictReader(file)
            if row["split"] == split
        ]


def as_query(file: Path, seconds: float | None, sample_rate: int) -> AudioQuery:
    """A recording as a query; of `seconds`, if given, only an active stretch at sample_rate."""
    if seconds is None:
        return AudioQuery(file)
    waveform = read_mono(file, sample_rate)
    stretch = active_stretch(waveform, round(seconds * sample_rate), np.random.default_rng(0))
    return AudioQuery(stretch, sample_rate=sample_rate)


def main() -> None:
    """The command."""
    from qsep.queries.encoders.joint import Config, build

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--corpus", choices=sorted(CORPORA), default="sounds150")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--encoder", help="folder of a joint encoder; default: the one shipped")
    parser.add_argument("--seconds", type=float, help="of each recording; default: all")
    parser.add_argument("--rate", type=int, default=16_000, help="of the stretch, in Hz")
    arguments = parser.parse_args()
    accuracies = zero_shot(
        build(Config(arguments.encoder)),
        [
            (as_query(file, arguments.seconds, arguments.rate), label)
            for file, label in labelled_recordings(arguments.data, arguments.split)
        ],
        CORPORA[arguments.corpus].wordings["wordings"],
    )
    for label, accuracy in accuracies.by_label.items():
        print(f"{label:20} {accuracy:6.1%}")
    single = sum(accuracies.by_wording) / len(accuracies.by_wording)
    print(
        f"{accuracies.num_recordings} recordings: {single:.1%} with one wording for each kind (mean over "
        f"{len(accuracies.by_wording)}), {accuracies.averaged:.1%} with all of them"
    )


if __name__ == "__main__":
    run_script(main)

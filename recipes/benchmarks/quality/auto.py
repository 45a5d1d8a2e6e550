"""Detection scores of `qsep auto` with the model sounds21.

    python -m qsep.recipes.benchmarks.quality.auto --data DIR MANIFEST…

DIR is the folder of sounds21, each MANIFEST lists mixtures of it. Precision, recall and F1 are over all
kinds in all mixtures. --fit N draws N mixtures of training recordings and prints the detector weights
fitted to them.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qsep.evaluation.items.manifest import MixtureRow
from qsep.evaluation.items.rendering import SAMPLE_RATE, render_mixture
from qsep.evaluation.protocols.sounds21 import load
from qsep.queries.interface import TextQuery
from qsep.separation.api import Model
from qsep.separation.api import load as load_model
from qsep.separation.detection.nodes import SEPARATOR_THRESHOLD
from qsep.separation.detection.separated_sounds import EstimateClassifier, Window, detect_separated

from ...data.mixtures.augment import AugmentConfig
from ...data.mixtures.clips import ClipStore
from ...data.mixtures.mix_and_separate import MixAndSeparate, MixConfig, RecordedSounds
from ...data.wording import PhraseBook, load_phrase_book
from ...errors import run_script

FIT_SECONDS, FIT_SEED = 5, 7
Mixture = tuple[NDArray[np.float32], set[str]]  # (t,) at SAMPLE_RATE, labels


@dataclass(frozen=True)
class Hits:
    """Numbers of kinds, over all mixtures, that were detected correctly, detected, and present."""

    correct: int
    detected: int
    present: int

    def __str__(self) -> str:
        precision, recall = (
            self.correct / max(1, self.detected),
            self.correct / max(1, self.present),
        )
        f1 = 2 * self.correct / max(1, self.detected + self.present)
        return f"F1 {f1:.3f}, precision {precision:.3f}, recall {recall:.3f}"


def count(detected: NDArray[np.bool_], truth: NDArray[np.bool_]) -> Hits:
    """The counts of detections against the truth, of the same shape."""
    return Hits(int((detected & truth).sum()), int(detected.sum()), int(truth.sum()))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifests", type=Path, nargs="*")
    parser.add_argument("--data", type=Path, required=True, help="folder of sounds21")
    parser.add_argument("--threshold", type=float, default=SEPARATOR_THRESHOLD)
    parser.add_argument("--fit", type=int, default=0, metavar="N", help="fit to N mixtures")
    arguments = parser.parse_args()
    logging.getLogger("qsep").setLevel(logging.ERROR)
    model, book = load_model("sounds21", "cpu"), load_phrase_book("sounds21")
    if arguments.fit:
        weights = fit(model, book, arguments.data, arguments.fit)
        print("BIAS, LEVEL, SHARE = " + ", ".join(f"{weight:.3f}" for weight in weights))
    for manifest in arguments.manifests:
        rows = load(arguments.data, manifest).rows
        probabilities, truth = [], []
        for row in rows:
            waveform, labels = render_mixture(row, arguments.data)[0], labels_of(row)
            activity = detect_separated(model, [waveform[None]], SAMPLE_RATE, arguments.threshold)
            probabilities.append(activity.probabilities.max(axis=1))
            truth.append([label in labels for label in book.labels])
        hits = count(np.array(probabilities) >= arguments.threshold, np.array(truth))
        print(f"{manifest.stem}, {len(rows)} mixtures: {hits}", flush=True)


def labels_of(row: MixtureRow) -> set[str]:
    """Labels of all sounds in a mixture."""
    return {row.label, *row.labels}


def training_mixtures(book: PhraseBook, data: Path, num: int) -> Iterator[Mixture]:
    """Mixtures of two to four training recordings, not augmented, at levels within 10 dB of each other."""
    unaugmented = AugmentConfig(
        speed_probability=0.0,
        filter_probability=0.0,
        reverb_probability=0.0,
        second_probability=0.0,
    )
    sounds = RecordedSounds(ClipStore(data, "train", SAMPLE_RATE).by_label, unaugmented)
    config = MixConfig(segment_samples=FIT_SECONDS * SAMPLE_RATE, augment=unaugmented)
    mixtures = MixAndSeparate(sounds, book, config, SAMPLE_RATE, FIT_SEED)
    labels = {phrase: label for label in book.labels for phrase in book.phrases[label]}
    for draw in range(num):
        sources, queries, _ = mixtures[draw]
        pairs = zip(sources, queries, strict=True)
        present = {labels[q.text] for s, q in pairs if isinstance(q, TextQuery) and s.any()}
        yield sources.sum(dim=0)[0].numpy(), present


@torch.inference_mode()
def detection_features(
    model: Model, classifier: EstimateClassifier, waveform: NDArray[np.float32]
) -> Tensor:
    """Detection features (k, 2) of a mixture (t,): level and share of each of k kinds, in dB."""
    kinds = model.embed([TextQuery(kind) for kind in model.classes])
    mixture = torch.from_numpy(waveform)[None]
    batched = kinds.map(lambda entry: entry[None])
    estimates = model.separator.separate(mixture[None], batched).target[0]
    return torch.stack(classifier.features(Window(0, mixture, estimates)), dim=1)


def fit(model: Model, book: PhraseBook, data: Path, num: int) -> list[float]:
    """Weights of a logistic regression on training mixtures: bias, level, share.

    Kinds too faint to be detected are left out.
    """
    classifier = EstimateClassifier(model)
    features, truth = [], []
    for waveform, labels in training_mixtures(book, data, num):
        features.append(detection_features(model, classifier, waveform))
        truth.append(torch.tensor([label in labels for label in book.labels]))
    values, present = torch.cat(features).double(), torch.cat(truth).double()
    audible = values[:, 0] > -torch.inf
    inputs = torch.cat([torch.ones(int(audible.sum()), 1), values[audible]], dim=1).double()
    return logistic_regression(inputs, present[audible])


def logistic_regression(inputs: Tensor, targets: Tensor, decay: float = 0.0) -> list[float]:
    """Weights (d,) by Newton's method: inputs (n, d), float64; targets (n,), each 0 or 1.

    decay: of the squared weights of the inputs scaled to unit variance, added to the mean cross-entropy; a
    constant input's weight is free.
    """
    weights = torch.zeros(inputs.shape[1], dtype=torch.float64)
    shrinkage = 2 * decay * len(inputs) * inputs.var(dim=0, correction=0)
    for _ in range(30):
        probabilities = (inputs @ weights).sigmoid()
        gradient = inputs.T @ (targets - probabilities) - shrinkage * weights
        curvature = inputs.T @ (inputs * (probabilities * (1 - probabilities))[:, None])
        weights += torch.linalg.solve(curvature + shrinkage.diag(), gradient)
    return [float(weight) for weight in weights]


if __name__ == "__main__":
    run_script(main)

"""Detection scores of `qsep auto` with a model of sound classes.

    python -m qsep.recipes.benchmarks.quality.auto_classes --data DIR [MANIFEST…]

DIR is the folder of sounds150; MANIFEST: names of manifests that come with the package, by default
dev-2 and dev-3. Precision, recall and F1 are over all classes in all mixtures. --fit N draws N mixtures of
training recordings and prints the detector weights fitted to them.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from qsep.evaluation.items.rendering import SAMPLE_RATE, render_mixture
from qsep.evaluation.protocols.sounds150 import load
from qsep.queries.interface import ClassQuery
from qsep.separation.api import Model
from qsep.separation.api import load as load_model
from qsep.separation.detection.nodes import SEPARATOR_THRESHOLD
from qsep.separation.inference.class_shares import (
    FLOOR_DB,
    STEP_SECONDS,
    features,
    step_shares,
    window_probabilities,
)

from ...data.mixtures.augment import AugmentConfig
from ...data.mixtures.classes import ClassMixConfig, ClassMixtures, ClassSounds
from ...data.mixtures.clips import load_takes
from ...errors import run_script
from ...training.config import from_table, read_recipe
from .auto import count, logistic_regression

FIT_SECONDS, FIT_SEED = 5, 7
MANIFESTS = ("dev-2", "dev-3")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifests", nargs="*", default=MANIFESTS)
    parser.add_argument("--data", type=Path, required=True, help="folder of sounds150")
    parser.add_argument("-m", "--model", default="sounds150")
    parser.add_argument("--threshold", type=float, default=SEPARATOR_THRESHOLD)
    parser.add_argument("--fit", type=int, default=0, metavar="N", help="fit to N mixtures")
    arguments = parser.parse_args()
    logging.getLogger("qsep").setLevel(logging.ERROR)
    model = load_model(arguments.model, "cpu")
    if arguments.fit:
        weights = fit(model, arguments.data, arguments.fit)
        print("BIAS, LEVEL, PEAK = " + ", ".join(f"{weight:.3f}" for weight in weights))
    step = round(STEP_SECONDS * SAMPLE_RATE)
    for manifest in arguments.manifests:
        rows = load(arguments.data, Path(manifest), "plain").rows
        detected, truth = [], []
        for row in rows:
            waveform = torch.from_numpy(render_mixture(row, arguments.data)[0])[None]
            shares = step_shares(model.separator, waveform.float(), step)
            detected.append(window_probabilities(shares).amax(dim=1).numpy() >= arguments.threshold)
            truth.append([label in {row.label, *row.labels} for label in model.classes])
        print(f"{manifest}, {len(rows)} mixtures: {count(np.array(detected), np.array(truth))}")


def training_mixtures(
    labels: Sequence[str], data: Path, num: int
) -> Iterator[tuple[Tensor, set[str]]]:
    """Mixtures (1, t) of two to four training recordings, not augmented, and their labels."""
    recipe, _ = read_recipe("sounds150")
    unaugmented = AugmentConfig(
        speed_probability=0.0,
        filter_probability=0.0,
        reverb_probability=0.0,
        second_probability=0.0,
    )
    config = replace(
        from_table(ClassMixConfig, {"mix": recipe.mix}, "mix", recipe.name),
        segment_samples=FIT_SECONDS * SAMPLE_RATE,
        augment=unaugmented,
        num_sources_weights=(0.5, 0.35, 0.15),
        lowpass_probability=0.0,
        group_probability=0.0,
        family_probability=0.1,
        background_probability=0.0,
    )
    sounds = ClassSounds(load_takes(data, "train", SAMPLE_RATE, labels), config, SAMPLE_RATE)
    mixtures = ClassMixtures(sounds, config, SAMPLE_RATE, FIT_SEED)
    for draw in range(num):
        sources, queries, _ = mixtures[draw]
        present = {
            query.degrees[0][0]
            for source, query in zip(sources, queries, strict=True)
            if isinstance(query, ClassQuery) and source.any()
        }
        yield sources.sum(dim=0), present


def fit(model: Model, data: Path, num: int) -> list[float]:
    """Weights of a logistic regression on training mixtures: bias, level, peak.

    Classes too faint to be detected are left out.
    """
    inputs, truth = [], []
    step = round(STEP_SECONDS * SAMPLE_RATE)
    for waveform, present in training_mixtures(model.classes, data, num):
        level_db, peak_db = features(step_shares(model.separator, waveform, step))
        audible = level_db > FLOOR_DB
        is_present = torch.tensor([label in present for label in model.classes])
        inputs.append(torch.stack([torch.ones_like(level_db), level_db, peak_db], dim=1)[audible])
        truth.append(is_present[audible])
    return logistic_regression(torch.cat(inputs).double(), torch.cat(truth).double())


if __name__ == "__main__":
    run_script(main)

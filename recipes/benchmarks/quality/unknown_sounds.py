"""How well sounds are separated of which the model knows nothing, asked for in words.

    python -m qsep.recipes.benchmarks.quality.unknown_sounds --sounds DIR --data DIR [--fit]

--sounds: usr/share of the unpacked packages that unknown_sounds.toml lists. --data: the folder of sounds150.
Each sound is mixed with dev recordings of sounds150, 5 s long, within 5 dB. Prints the SI-SDR improvement by
words, and its mean with a 95 % interval. --fit: by weights of inference/unexplained.py that are fitted to all
words but a fifth, in turn, instead of those that are shipped; prints the weights fitted to all.
"""

from __future__ import annotations

import argparse
import logging
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from qsep.evaluation.metrics.sdr import si_sdr
from qsep.evaluation.metrics.statistics import describe
from qsep.queries.encoders import joint
from qsep.queries.interface import ClassQuery
from qsep.separation.api import Model, load
from qsep.separation.audio.reader import read_mono
from qsep.separation.inference import unexplained

from ...data.mixtures.clips import read_clip_list
from ...errors import run_script
from .auto import logistic_regression

RATE, SECONDS, PER_SOUND, SEED = 32000, 5, 3, 0
LEVEL_DB = 5.0
FOLDS = 5
DECIDED = 0.35  # factor of the fitted log odds
DECAY = 0.01  # of the fitted weights
WEIGHTS = ("CLOSENESS", "CONFIDENCE", "HEARD")  # of unexplained.py
SOUNDING = 0.02  # of the peak: quieter beginnings and ends are cut off
LIST = Path(__file__).with_suffix(".toml")
Waveform = NDArray[np.float32]


class Mixed(NamedTuple):
    """words for the unknown sound (t,), and a known one (t,), label its class."""

    words: str
    unknown: Waveform
    known: Waveform
    label: str


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sounds", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of sounds150")
    parser.add_argument("-m", "--model", default="sounds150")
    parser.add_argument("--fit", action="store_true")
    options = parser.parse_args()
    logging.getLogger("qsep").setLevel(logging.ERROR)
    model = load(options.model, "cpu")
    items = list(mixtures(options.sounds, options.data))
    if options.fit:
        scores = fitted_scores(model, items)
    else:
        scores = [improvement(model, item) for item in items]
    unknown = [not has_known_words(model, item.words) for item in items]
    for words in dict.fromkeys(item.words for item in items):
        chosen = [score for score, item in zip(scores, items, strict=True) if item.words == words]
        print(f"{words:30} {np.mean(chosen):6.1f} dB")
    for name, kept in (("all", [True] * len(items)), ("read as no known sound", unknown)):
        mean = describe([score for score, keep in zip(scores, kept, strict=True) if keep])
        print(
            f"{name}: {mean.mean:.2f} dB {mean.interval}, median {mean.median:.2f}, "
            f"{mean.count} mixtures"
        )


def has_known_words(model: Model, words: str) -> bool:
    """Whether the model takes the words for a sound that it knows."""
    reading = model.read(words)
    return reading is not None and reading.known


def improvement(model: Model, item: Mixed) -> float:
    """SI-SDR improvement in dB."""
    mixture = item.unknown + item.known
    estimate = np.asarray(model.separate(mixture, item.words, RATE).target)
    return float(si_sdr(estimate, item.unknown) - si_sdr(mixture, item.unknown))


def fitted_scores(model: Model, items: Sequence[Mixed]) -> list[float]:
    """Improvement of each item, by weights fitted to the items of other words; prints those fitted to all."""
    wordings = list(dict.fromkeys(item.words for item in items))
    fold_of = {words: number % FOLDS for number, words in enumerate(wordings)}
    rows = [
        (fold_of[item.words], values, queried)
        for item in items
        if not has_known_words(model, item.words)
        for values, queried in grouped(model, item)
    ]

    def fit(without: int | None) -> list[float]:
        kept = [row for row in rows if row[0] != without]
        inputs = torch.tensor([values for _, values, _ in kept]).double()
        queried = torch.tensor([truth for *_, truth in kept]).double()
        return [DECIDED * weight for weight in logistic_regression(inputs, queried, DECAY)]

    print(f"{', '.join(WEIGHTS)} = " + ", ".join(f"{weight:.3g}" for weight in fit(None)))
    fitted = [fit(fold) for fold in range(FOLDS)]
    scores = []
    for item in items:
        for name, weight in zip(WEIGHTS, fitted[fold_of[item.words]], strict=True):
            setattr(unexplained, name, weight)
        scores.append(improvement(model, item))
    return scores


def grouped(model: Model, item: Mixed) -> list[tuple[list[float], bool]]:
    """The features of each group of classes, and whether it is more of the unknown sound than of the known
    one."""
    mixture = item.unknown + item.known
    reading = model.read(item.words)
    assert reading is not None
    (atom, *_) = (atom for atom in reading.atoms.values() if atom.closeness is not None)
    scene = unexplained.scene_of(model.separator, [mixture[None]], RATE)
    groups = scene.groups
    if groups.max() == 0:
        return []
    assert atom.closeness is not None
    event_weights = joint.shipped().event_weights(atom.text)
    rows = zip(*unexplained.features(scene, atom.closeness, event_weights), strict=True)
    queries = [
        ClassQuery(
            {name: float(groups[row] == group) for row, name in enumerate(model.classes)},
            other=float(groups[-1] == group),
        )
        for group in range(groups.max() + 1)
    ]
    results = []
    for row, result in zip(rows, model.separate(mixture, queries, RATE), strict=True):
        parts = [
            float(np.dot(np.asarray(result.target), source)) ** 2 / float(np.dot(source, source))
            for source in (item.unknown, item.known)
        ]
        results.append(([*map(float, row)], parts[0] > parts[1]))
    return results


def mixtures(sounds: Path, data: Path) -> Iterator[Mixed]:
    """PER_SOUND mixtures of each sound of the list; ValueError or AudioError for missing files."""
    rng = np.random.default_rng(SEED)
    clips = read_clip_list(data, "dev")
    for words, files in tomllib.loads(LIST.read_text("utf-8"))["sounds"].items():
        for file in files:
            for _ in range(PER_SOUND):
                clip = clips[rng.integers(len(clips))]
                unknown = segment(sounds / file, rng)
                known = segment(data / clip.file, rng) * 10 ** (
                    rng.uniform(-LEVEL_DB, LEVEL_DB) / 20
                )
                yield Mixed(words, unknown, known.astype(np.float32), clip.label)


def segment(path: Path, rng: np.random.Generator) -> Waveform:
    """SECONDS of a recording at a root mean square of 0.05, a short one repeated with pauses: (t,)."""
    num_samples = SECONDS * RATE
    waveform = read_mono(path, RATE)
    loud = np.flatnonzero(np.abs(waveform) > SOUNDING * np.abs(waveform).max())
    waveform = once = waveform[loud[0] : loud[-1] + 1]
    while len(waveform) < 0.6 * num_samples:
        pause = np.zeros(rng.integers(RATE // 20, RATE * 3 // 10), np.float32)
        waveform = np.concatenate([waveform, pause, once])
    start = rng.integers(max(0, len(waveform) - num_samples) + 1)
    cut = waveform[start : start + num_samples]
    cut = np.pad(cut, (0, num_samples - len(cut)))
    return (0.05 * cut / np.sqrt(np.mean(np.square(cut)))).astype(np.float32)


if __name__ == "__main__":
    run_script(main)

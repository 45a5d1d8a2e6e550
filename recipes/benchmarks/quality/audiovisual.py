"""Localisation, separation and recognition by one model, on pictures of shapes that sound, with ablations.

    python -m qsep.recipes.benchmarks.quality.audiovisual -o FOLDER

Trains the recipe `audiovisual-shapes` in several ways with three seeds each, scores all on the same scenes,
which none was trained on, and writes runs.csv, audiovisual.md and the heat maps of a scene as scene.png. Run
again after an interruption, it continues; finished runs are not repeated.

- Localisation: a picture of two shapes, or the mean of two pictures of one shape each, and the sound of one.
- Separation: a mixture of two sounds, queried by a picture of the shape of each.
- Recognition: which of the pictures of one shape each, drawn once, a sound is most like.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qsep.evaluation.metrics.localisation import consensus_iou, points_inside
from qsep.evaluation.metrics.sdr import si_sdr
from qsep.evaluation.metrics.statistics import describe
from qsep.queries.interface import ImageQuery
from qsep.separation.api import load, locate, similarities
from qsep.separation.api.model import Model
from qsep.separation.storage.temporary import write_atomically

from ...data.mixtures.pictures import mean_of
from ...data.mixtures.synthetic import SyntheticSounds
from ...data.shapes import LOOKS, SIZE, Scene, draw_scene
from ...errors import run_script
from ...inference.heat_map import draw_heat_map, enlarged
from .bimodal import trained

RECIPE = "audiovisual-shapes"
WAYS: dict[str, tuple[str, ...]] = {  # changes to the recipe
    "all terms": (),
    "no mixed pictures": ("separator.objective.alignment_weight=0.0",),
    "separation alone": (
        "separator.objective.alignment_weight=0.0",
        "separator.objective.localisation_weight=0.0",
        "separator.objective.recognition_weight=0.0",
    ),
}
SEED = 2305_19458  # of the scenes; recipes train with small ones
SECONDS = 2.0
METRICS = {  # columns of the table
    "pointing": "maximum in the shape, %",
    "which": "right one of two shapes, %",
    "overlap": "cIoU of 0.5 or more, %",
    "ciou": "mean cIoU",
    "blended": "maximum in the shape, in the mean of two pictures, %",
    "recognised": "sounds recognised, %",
    "si_sdr_i": "SI-SDR improvement, dB",
}
PERCENTAGES = ("pointing", "which", "overlap", "blended", "recognised")
CHANCE = ("pointing", "overlap", "ciou", "blended")  # measured with the maps of another trial
Scores = Mapping[str, NDArray[np.float64]]  # by metric: (items,), the items in the same order


@dataclass(frozen=True)
class Trial:
    """sounds: by label, of two kinds, (t,). scene: both shapes; alone: each of them, elsewhere."""

    sounds: Mapping[str, NDArray[np.float32]]
    scene: Scene
    alone: Mapping[str, Scene]


def trial(number: int, sample_rate: int) -> Trial:
    """A function of its number: two random kinds of sound with their pictures. sample_rate: in Hz."""
    rng = np.random.default_rng((SEED, number))
    sounds = SyntheticSounds(tuple(LOOKS), sample_rate)
    labels = [str(label) for label in rng.permutation(list(LOOKS))[:2]]
    size = round(SECONDS * sample_rate)
    return Trial(
        {label: np.float32(0.5) * sounds.draw(label, size, rng) for label in labels},
        draw_scene(labels, rng),
        {label: draw_scene([label], rng) for label in labels},
    )


def scores_of(model: Model, num_trials: int) -> dict[str, NDArray[np.float64]]:
    """Scores of each sound of the trials, and in "… by chance" those of maps of another trial's scene."""
    labelled = [
        ImageQuery(draw_scene([label], np.random.default_rng((SEED, index, 1))).picture)
        for index, label in enumerate(LOOKS)
    ]
    scores: dict[str, list[float]] = {name: [] for name in METRICS}
    maps: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []  # of the scene, of the mean
    regions: list[tuple[NDArray[np.bool_], NDArray[np.bool_]]] = []
    for number in range(num_trials):
        item = trial(number, model.separator.sample_rate)
        labels = list(item.sounds)
        mixture = np.sum(list(item.sounds.values()), axis=0)
        pictures = {label: scene.picture for label, scene in item.alone.items()}
        results = model.separate(mixture, [ImageQuery(pictures[label]) for label in labels])
        blend = mean_of(list(pictures.values()))
        for label, other, result in zip(labels, labels[::-1], results, strict=True):
            sound, region = item.sounds[label], item.scene.regions[label]
            heat, blended = (
                enlarged(locate(model, picture, sound), SIZE, SIZE)
                for picture in (item.scene.picture, blend)
            )
            maps.append((heat, blended))
            regions.append((region, item.alone[label].regions[label]))
            scores["blended"].append(points_inside(blended, regions[-1][1]))
            scores["pointing"].append(points_inside(heat, region))
            scores["which"].append(heat[region].max() > heat[item.scene.regions[other]].max())
            scores["ciou"].append(consensus_iou(heat, region))
            scores["overlap"].append(scores["ciou"][-1] >= 0.5)
            nearest = int(similarities(model, sound, labelled).argmax())
            scores["recognised"].append(list(LOOKS)[nearest] == label)
            gain = si_sdr(result.target, sound) - si_sdr(mixture, sound)
            scores["si_sdr_i"].append(float(gain))
    by_chance: dict[str, list[float]] = {f"{name} by chance": [] for name in CHANCE}
    for (heat, blended), (region, alone) in zip(maps[2:] + maps[:2], regions, strict=True):
        by_chance["pointing by chance"].append(points_inside(heat, region))
        by_chance["ciou by chance"].append(consensus_iou(heat, region))
        by_chance["overlap by chance"].append(by_chance["ciou by chance"][-1] >= 0.5)
        by_chance["blended by chance"].append(points_inside(blended, alone))
    scores |= by_chance
    return {name: np.array(values, np.float64) for name, values in scores.items()}


def as_csv(runs: Mapping[tuple[str, int], Scores]) -> str:
    """Means of each way and seed as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(next(iter(runs.values())))
    writer.writerow(["way", "seed", *names])
    for (way, seed), scores in runs.items():
        writer.writerow([way, seed, *(round(float(scores[name].mean()), 4) for name in names)])
    return text.getvalue()


def as_markdown(runs: Mapping[tuple[str, int], Scores]) -> str:
    """A table of each way: means over seeds, their 95 % bootstrap interval over items, and of each seed."""
    ways = dict.fromkeys(way for way, _ in runs)
    lines = ["| way | " + " | ".join(METRICS.values()) + " |", "|---|" + "---|" * len(METRICS)]
    for way in ways:
        seeds = [scores for (name, _), scores in runs.items() if name == way]
        cells = [cell(name, [scores[name] for scores in seeds]) for name in METRICS]
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    first = [scores for (name, _), scores in runs.items() if name == next(iter(ways))]
    chance = {name: [scores[f"{name} by chance"] for scores in first] for name in CHANCE}
    known = {"which": "50", "recognised": f"{100 / len(LOOKS):.0f}", "si_sdr_i": "0"}
    cells = [known.get(name) or cell(name, chance[name]) for name in METRICS]
    lines.append("| chance | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def cell(name: str, by_seed: Sequence[NDArray[np.float64]]) -> str:
    """Mean, interval over items, and the means of several seeds, of scores (items,) of each seed."""
    factor, digits = (100, 0) if name in PERCENTAGES else (1, 2)
    scores = factor * np.stack(by_seed)
    overall = describe(scores.mean(axis=0).tolist())
    text = f"{overall.mean:.{digits}f} [{overall.low:.{digits}f}, {overall.high:.{digits}f}]"
    if len(by_seed) == 1:
        return text
    return f"{text} ({', '.join(f'{mean:.{digits}f}' for mean in scores.mean(axis=1))})"


def draw_example(model: Model, number: int) -> NDArray[np.uint8]:
    """The scene of a trial and its heat maps for each of its sounds, side by side, twice as large."""
    item = trial(number, model.separator.sample_rate)
    pixels = np.repeat(np.repeat(item.scene.picture, 2, axis=0), 2, axis=1)
    maps = [
        draw_heat_map(pixels, locate(model, item.scene.picture, sound))
        for sound in item.sounds.values()
    ]
    gap = np.full((len(pixels), 8, 3), 255, np.uint8)
    return np.concatenate([pixels, gap, maps[0], gap, maps[1]], axis=1)


def main() -> None:
    """The command."""
    from PIL import Image

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--recipe", default=RECIPE)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--trials", type=int, default=200, help="scenes of two sounds each")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="changes to all runs"
    )
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    runs: dict[tuple[str, int], Scores] = {}
    for seed in arguments.seeds:
        for way in arguments.ways:
            folder = arguments.out / way.replace(" ", "-") / f"seed-{seed}"
            print(f"{way}, seed {seed}: {folder}", flush=True)
            trained(arguments.recipe, [*WAYS[way], f"train.seed={seed}", *arguments.set], folder)
            runs[way, seed] = scores_of(load(folder / "model", "cpu"), arguments.trials)
    runs = {(way, seed): runs[way, seed] for way in arguments.ways for seed in arguments.seeds}
    text = as_markdown(runs)
    for name, content in (("runs.csv", as_csv(runs)), ("audiovisual.md", text)):
        write_atomically(
            arguments.out / name, partial(Path.write_text, data=content, encoding="utf-8")
        )
    first = arguments.out / arguments.ways[0].replace(" ", "-") / f"seed-{arguments.seeds[0]}"
    example = Image.fromarray(draw_example(load(first / "model", "cpu"), 0)).quantize(128)
    write_atomically(
        arguments.out / "scene.png", lambda path: example.save(path, format="PNG", optimize=True)
    )
    print(text)


if __name__ == "__main__":
    run_script(main)

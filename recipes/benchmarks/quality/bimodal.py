"""The claims of bi-modal weak supervision (Mahmud et al. 2024), put to the test on sounds21.

    python -m qsep.recipes.benchmarks.quality.bimodal --data FOLDER -o FOLDER

Trains one network in five ways with three seeds each, evaluates all on the same mixtures, and leaves runs.csv
and bimodal.md: scores with their intervals, and what the paper claims beside what was found. Begun again it
goes on where it was interrupted. A run that is done is not repeated.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qsep.evaluation.interface import Item, ItemQuery, ItemSet
from qsep.evaluation.metrics.statistics import describe
from qsep.evaluation.protocols import load_items
from qsep.evaluation.rows import read_rows
from qsep.evaluation.run import evaluate
from qsep.separation.api import load
from qsep.separation.storage.checkpoint import read_config
from qsep.separation.storage.temporary import write_atomically

from ...training.config import read_recipe
from ...training.loop import train

RECIPE = "bimodal-sounds21"
WAYS: dict[str, tuple[str, ...]] = {  # what each changes of the recipe
    "unsupervised": ("mix.phrases=false",),
    "weak": (),
    "supervised": ("mix.supervised_share=1.0",),
    "supervised-tenth": ("mix.supervised_share=1.0", "mix.single_fraction=0.1"),
    "semi-supervised": ("mix.supervised_share=0.5", "mix.single_fraction=0.1"),
}
CLAIMS = (  # the better way, the other, and the ratio of their SDRs in the paper
    ("weak", "unsupervised", 1.71),
    ("weak", "supervised", 0.975),
    ("semi-supervised", "supervised-tenth", 1.17),
)
METRICS = ("si_sdr_i", "sdr_i", "sdr")
NUM_RESAMPLES = 10_000
Scores = Mapping[str, np.ndarray]  # of a metric: (seeds, items), the items in one order


@dataclass(frozen=True)
class Thinned:
    """Every so many items of a set."""

    items: ItemSet
    every: int

    @property
    def name(self) -> str:
        return f"{self.items.name}, every {self.every}."

    @property
    def manifest_sha256(self) -> str:
        return self.items.manifest_sha256

    @property
    def condition(self) -> str:
        return self.items.condition

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.items.fingerprint} {self.every}".encode()).hexdigest()

    @property
    def ids(self) -> Sequence[str]:
        return self.items.ids[:: self.every]

    @property
    def item_queries(self) -> Sequence[ItemQuery]:
        return self.items.item_queries[:: self.every]

    @property
    def families(self) -> Mapping[str, tuple[str, ...]]:
        return self.items.families

    def render(self, index: int) -> Item:
        return self.items.render(self.every * index)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of sounds21")
    parser.add_argument("--manifest", type=Path, default=Path("dev-2"))
    parser.add_argument("--recipe", default=RECIPE)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of all runs")
    parser.add_argument("--every", type=int, default=1, help="evaluate each so many items")
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()

    items: ItemSet = load_items("sounds21", arguments.data, arguments.manifest, "plain", {})
    if arguments.every > 1:
        items = Thinned(items, arguments.every)
    changes = [f"data.folder={arguments.data}", *arguments.set]
    found: dict[str, Scores] = {}
    for way in arguments.ways:
        runs = []
        for seed in arguments.seeds:
            folder = arguments.out / way / f"seed-{seed}"
            print(f"{way}, seed {seed}: {folder}", flush=True)
            trained(arguments.recipe, [*changes, *WAYS[way], f"train.seed={seed}"], folder)
            evaluate(load(folder / "model", "cpu"), items, folder / "scores")
            runs.append(scores_of(folder / "scores" / "items.csv"))
        found[way] = {metric: np.stack([run[metric] for run in runs if run]) for metric in METRICS}
    write_atomically(
        arguments.out / "runs.csv",
        lambda path: path.write_text(as_csv(found, arguments.seeds), encoding="utf-8"),
    )
    text = as_markdown(found, items.name)
    write_atomically(
        arguments.out / "bimodal.md", lambda path: path.write_text(text, encoding="utf-8")
    )
    print(text)


def trained(recipe_name: str, overrides: list[str], folder: Path) -> None:
    """Train, or go on, or find it done. ValueError where it stopped before its last step."""
    recipe, content = read_recipe(recipe_name, overrides)
    if steps_done(folder) != recipe.train.steps:
        train(recipe, content, folder, accelerator="auto")
    if steps_done(folder) != recipe.train.steps:
        raise ValueError(f"{folder}: interrupted; run the same command again to go on")


def steps_done(folder: Path) -> int | None:
    if not (folder / "model" / "config.json").is_file():
        return None
    step: int = read_config(folder / "model")["provenance"]["step"]
    return step


def scores_of(path: Path) -> Scores:
    """(items,) of each metric, in the order of their ids."""
    rows = sorted(read_rows(path), key=lambda row: row["id"])
    return {metric: np.array([row[metric] for row in rows], float) for metric in METRICS}


def as_csv(found: Mapping[str, Scores], seeds: Sequence[int]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["way", "seed", *METRICS])
    for way, scores in found.items():
        for place, seed in enumerate(seeds):
            means = [round(float(scores[metric][place].mean()), 3) for metric in METRICS]
            writer.writerow([way, seed, *means])
    return text.getvalue()


def as_markdown(found: Mapping[str, Scores], items_name: str) -> str:
    lines = [
        f"{items_name}; mean over seeds, its 95 % bootstrap interval over items, and each seed's own.",
        "",
        "| way | changes | SI-SDR improvement, dB | SDR, dB |",
        "|---|---|---|---|",
    ]
    for way, scores in found.items():
        changes = ", ".join(f"`{change}`" for change in WAYS[way]) or "none"
        cells = [interval(scores[metric]) for metric in ("si_sdr_i", "sdr")]
        lines.append(f"| {way} | {changes} | {' | '.join(cells)} |")
    lines += [
        "",
        "| claim | paper | found, ratio of SDRs | difference of SDRs, dB |",
        "|---|---|---|---|",
    ]
    for better, other, ratio in CLAIMS:
        if better in found and other in found:
            first, second = found[better]["sdr"].mean(axis=0), found[other]["sdr"].mean(axis=0)
            difference = describe((first - second).tolist())
            lines.append(
                f"| {better} over {other} | {ratio:g} | {ratio_interval(first, second)} | "
                f"{difference.mean:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}] |"
            )
    settings = {way: list(changes) for way, changes in WAYS.items() if way in found}
    return "\n".join([*lines, "", f"Ways: `{json.dumps(settings)}`"]) + "\n"


def interval(scores: np.ndarray) -> str:
    """Of (seeds, items)."""
    overall = describe(scores.mean(axis=0).tolist())
    seeds = ", ".join(f"{mean:.2f}" for mean in scores.mean(axis=1))
    return f"{overall.mean:.2f} [{overall.low:.2f}, {overall.high:.2f}] ({seeds})"


def ratio_interval(first: np.ndarray, second: np.ndarray) -> str:
    """Of the means of paired scores (items,); none where the second's mean may be 0 or less."""
    rng = np.random.default_rng(0)
    chosen = rng.integers(len(first), size=(NUM_RESAMPLES, len(first)))
    numerators, denominators = first[chosen].mean(axis=1), second[chosen].mean(axis=1)
    if second.mean() <= 0 or np.quantile(denominators, 0.025) <= 0:
        return "none: the other's SDR may be 0 dB or less"
    low, high = np.quantile(numerators / denominators, [0.025, 0.975])
    return f"{first.mean() / second.mean():.2f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    main()

"""A test on sounds21 of the claims of bi-modal weak supervision (Mahmud et al. 2024).

    python -m qsep.recipes.benchmarks.quality.bimodal --data FOLDER -o FOLDER

Trains a network in five ways with three seeds each, evaluates all on the same mixtures, and writes runs.csv
and bimodal.md: scores with their intervals, and the paper's claims beside the results. Run again after an
interruption, it continues; finished runs are not repeated.
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

from qsep.evaluation.interface import Item, ItemQuery, ItemSet, Publication
from qsep.evaluation.metrics.statistics import describe
from qsep.evaluation.protocols import load_items
from qsep.evaluation.rows import read_rows
from qsep.evaluation.run import evaluate
from qsep.separation.api import load
from qsep.separation.storage.config import read_config
from qsep.separation.storage.temporary import write_atomically

from ...training.config import read_recipe
from ...training.loop import train

RECIPE = "bimodal-sounds21"
WAYS: dict[str, tuple[str, ...]] = {  # changes to the recipe
    "unsupervised": ("mix.phrases=false",),
    "weak": (),
    "supervised": ("mix.supervised_share=1.0",),
    "supervised-tenth": ("mix.supervised_share=1.0", "mix.single_fraction=0.1"),
    "semi-supervised": ("mix.supervised_share=0.5", "mix.single_fraction=0.1"),
}
CLAIMS = (  # the first way, the second, and the ratio of their SDRs in the paper
    ("weak", "unsupervised", 1.71),
    ("weak", "supervised", 0.975),
    ("semi-supervised", "supervised-tenth", 1.17),
)
METRICS = ("si_sdr_i", "sdr_i", "sdr")
NUM_RESAMPLES = 10_000
Scores = Mapping[str, np.ndarray]  # by metric: (seeds, items), the items in the same order


@dataclass(frozen=True)
class Thinned:
    """An ItemSet of every n-th item of another one; n = every."""

    items: ItemSet
    every: int

    @property
    def name(self) -> str:
        """The set's name and n."""
        return f"{self.items.name}, every {self.every}."

    @property
    def manifest_sha256(self) -> str:
        """Same as the set's."""
        return self.items.manifest_sha256

    @property
    def condition(self) -> str:
        """Same as the set's."""
        return self.items.condition

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the set's fingerprint and n."""
        return hashlib.sha256(f"{self.items.fingerprint} {self.every}".encode()).hexdigest()

    @property
    def ids(self) -> Sequence[str]:
        """Every n-th id."""
        return self.items.ids[:: self.every]

    @property
    def item_queries(self) -> Sequence[ItemQuery]:
        """Every n-th item's query and labels."""
        return self.items.item_queries[:: self.every]

    @property
    def families(self) -> Mapping[str, tuple[str, ...]]:
        """Same as the set's."""
        return self.items.families

    @property
    def publication(self) -> Publication:
        """Same as the set's."""
        return self.items.publication

    def render(self, index: int) -> Item:
        """Item number n * index of the set."""
        return self.items.render(self.every * index)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of sounds21")
    parser.add_argument("--manifest", type=Path, default=Path("dev-2"))
    parser.add_argument("--recipe", default=RECIPE)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="changes to all runs"
    )
    parser.add_argument("--every", type=int, default=1, help="evaluate every N-th item")
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()

    items: ItemSet = load_items("sounds21", arguments.data, arguments.manifest, "plain", {})
    if arguments.every > 1:
        items = Thinned(items, arguments.every)
    changes = [f"data.folder={arguments.data}", *arguments.set]
    results: dict[str, Scores] = {}
    for way in arguments.ways:
        runs = []
        for seed in arguments.seeds:
            folder = arguments.out / way / f"seed-{seed}"
            print(f"{way}, seed {seed}: {folder}", flush=True)
            trained(arguments.recipe, [*changes, *WAYS[way], f"train.seed={seed}"], folder)
            evaluate(load(folder / "model", "cpu"), items, folder / "scores")
            runs.append(scores_of(folder / "scores" / "items.csv"))
        results[way] = {
            metric: np.stack([run[metric] for run in runs if run]) for metric in METRICS
        }
    write_atomically(
        arguments.out / "runs.csv",
        lambda path: path.write_text(as_csv(results, arguments.seeds), encoding="utf-8"),
    )
    text = as_markdown(results, items.name)
    write_atomically(
        arguments.out / "bimodal.md", lambda path: path.write_text(text, encoding="utf-8")
    )
    print(text)


def trained(recipe_name: str, overrides: list[str], folder: Path) -> None:
    """Train or resume unless the run is finished; ValueError if it was interrupted."""
    recipe, content = read_recipe(recipe_name, overrides)
    if steps_done(folder) != recipe.train.steps:
        train(recipe, content, folder, accelerator="auto")
    if steps_done(folder) != recipe.train.steps:
        raise ValueError(f"{folder}: interrupted; run the same command again to continue")


def steps_done(folder: Path) -> int | None:
    """The step of the run's checkpoint, None if there is none."""
    if not (folder / "model" / "config.json").is_file():
        return None
    step: int = read_config(folder / "model")["provenance"]["step"]
    return step


def scores_of(path: Path) -> Scores:
    """Scores (items,) by metric from an items.csv, ordered by item id."""
    rows = sorted(read_rows(path), key=lambda row: row["id"])
    return {metric: np.array([row[metric] for row in rows], float) for metric in METRICS}


def as_csv(results: Mapping[str, Scores], seeds: Sequence[int]) -> str:
    """Mean scores of each way and seed as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["way", "seed", *METRICS])
    for way, scores in results.items():
        for i, seed in enumerate(seeds):
            means = [round(float(scores[metric][i].mean()), 3) for metric in METRICS]
            writer.writerow([way, seed, *means])
    return text.getvalue()


def as_markdown(results: Mapping[str, Scores], items_name: str) -> str:
    """Tables of the scores and of the claims in Markdown."""
    lines = [
        f"{items_name}; mean over seeds, its 95 % bootstrap interval over items, and the mean of each seed.",
        "",
        "| way | changes | SI-SDR improvement, dB | SDR, dB |",
        "|---|---|---|---|",
    ]
    for way, scores in results.items():
        changes = ", ".join(f"`{change}`" for change in WAYS[way]) or "none"
        cells = [interval(scores[metric]) for metric in ("si_sdr_i", "sdr")]
        lines.append(f"| {way} | {changes} | {' | '.join(cells)} |")
    lines += [
        "",
        "| claim | paper | result, ratio of SDRs | difference of SDRs, dB |",
        "|---|---|---|---|",
    ]
    for better, other, ratio in CLAIMS:
        if better in results and other in results:
            first = results[better]["sdr"].mean(axis=0)
            second = results[other]["sdr"].mean(axis=0)
            difference = describe((first - second).tolist())
            lines.append(
                f"| {better} over {other} | {ratio:g} | {ratio_interval(first, second)} | "
                f"{difference.mean:+.2f} {difference.interval_as('+.2f')} |"
            )
    settings = {way: list(changes) for way, changes in WAYS.items() if way in results}
    return "\n".join([*lines, "", f"Ways: `{json.dumps(settings)}`"]) + "\n"


def interval(scores: np.ndarray) -> str:
    """Text with mean, interval over items and means of the seeds, for scores (seeds, items)."""
    overall = describe(scores.mean(axis=0).tolist())
    seeds = ", ".join(f"{mean:.2f}" for mean in scores.mean(axis=1))
    return f"{overall.mean:.2f} {overall.interval} ({seeds})"


def ratio_interval(first: np.ndarray, second: np.ndarray) -> str:
    """Text with the ratio of the means of paired scores (items,) and its 95 % interval.

    There is none if the second mean may be 0 or less.
    """
    rng = np.random.default_rng(0)
    chosen = rng.integers(len(first), size=(NUM_RESAMPLES, len(first)))
    numerators, denominators = first[chosen].mean(axis=1), second[chosen].mean(axis=1)
    if second.mean() <= 0 or np.quantile(denominators, 0.025) <= 0:
        return "none: the other's SDR may be 0 dB or less"
    low, high = np.quantile(numerators / denominators, [0.025, 0.975])
    return f"{first.mean() / second.mean():.2f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    main()

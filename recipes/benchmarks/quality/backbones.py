"""Separators trained by the same recipe: quality against parameters, MACs, speed and memory.

    qsep bench backbones --data FOLDER -o FOLDER

Each separator of `backbones.toml` is trained by the recipe `backbones`, with each seed, and scored on
manifests of sounds150; finished runs are not repeated. Writes backbones.csv with a row for each separator,
budget, seed and manifest; backbones.md with averages over seeds; and backbones.png.
"""

from __future__ import annotations

import csv
import io
import multiprocessing
import tomllib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from qsep.evaluation.metrics.statistics import Statistics, describe
from qsep.evaluation.protocols import load_items
from qsep.evaluation.rows import read_rows
from qsep.evaluation.run import evaluate
from qsep.separation.storage.temporary import write_atomically

SEPARATORS = Path(__file__).with_suffix(".toml")
MANIFESTS = ("dev-2", "dev-families")
COST_SECONDS = 4.0  # length of the audio that costs are measured on


@dataclass(frozen=True)
class Entrant:
    """A separator to compare. settings: its table in a recipe."""

    name: str
    budget: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Cost:
    """Cost of one query on one channel.

    macs_per_second: multiply-accumulates per second of audio. real_time_factor: on one core;
    real_time_factor_2: on two. megabytes: peak memory beyond that of a process that has imported torch.
    """

    parameters: int
    macs_per_second: float
    real_time_factor: float
    real_time_factor_2: float
    megabytes: float


@dataclass(frozen=True)
class Row:
    """One line of backbones.csv. si_sdr_i: mean SI-SDR improvement, dB, and its 95 % interval, if there is
    one."""

    name: str
    budget: str
    seed: int
    manifest: str
    parameters: int
    macs_per_second: float
    real_time_factor: float
    real_time_factor_2: float
    megabytes: float
    num_items: int
    si_sdr_i: float
    low: float | None
    high: float | None


def entrants(budget: str, names: Sequence[str] = (), path: Path = SEPARATORS) -> list[Entrant]:
    """The separators of a budget, or the named ones of them; ValueError for an unknown budget or name."""
    content = tomllib.loads(path.read_text("utf-8"))
    if budget not in content:
        raise ValueError(f"no budget is called {budget!r}; there are {', '.join(content)}")
    known = content[budget]
    for name in names:
        if name not in known:
            raise ValueError(f"no separator of {budget} is called {name!r}: {', '.join(known)}")
    return [Entrant(name, budget, known[name]["separator"]) for name in names or known]


def measure_cost(settings: dict[str, Any], seconds: float = COST_SECONDS) -> Cost:
    """The cost of a separator, measured in a new process, so that its memory is not another separator's."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(cost_in_this_process, settings, seconds).result()


def cost_in_this_process(settings: dict[str, Any], seconds: float) -> Cost:
    """`measure_cost` in this process, which must be at its peak memory so far."""
    import torch

    from qsep.queries.interface import QueryEmbedding
    from qsep.separation.components import build_separator

    from ..costs.network import count_macs, num_parameters, peak_megabytes, real_time_factor

    before = peak_megabytes()
    rest = {name: value for name, value in settings.items() if name != "kind"}
    separator = build_separator(settings["kind"], rest).eval()
    generator = torch.Generator().manual_seed(0)
    num_samples = round(seconds * separator.sample_rate)
    mixture = 0.1 * torch.randn(1, 1, num_samples, generator=generator)
    queries = QueryEmbedding(torch.randn(1, 1, separator.query_dim, generator=generator))

    def run() -> None:
        with torch.no_grad():  # costs of inference
            separator.separate(mixture, queries, generator)

    factors = []
    threads = torch.get_num_threads()
    try:
        for cores in (1, 2):
            torch.set_num_threads(cores)
            factors.append(real_time_factor(run, seconds))
    finally:
        torch.set_num_threads(threads)
    megabytes = peak_megabytes() - before
    macs = count_macs(separator, run) / seconds
    return Cost(num_parameters(separator), macs, factors[0], factors[1], megabytes)


def run_bench(
    chosen: Sequence[Entrant],
    out: Path,
    data: Path,
    seeds: Sequence[int] = (0,),
    manifests: Sequence[str] = MANIFESTS,
    recipe: str = "backbones",
    overrides: Sequence[str] = (),
    accelerator: str = "auto",
) -> list[Row]:
    """Train and score every separator with every seed; results are also written after each one.

    overrides: "table.key=value" for the recipe, the same for all.
    """
    rows: list[Row] = []
    for entrant in chosen:
        cost = measure_cost(entrant.settings)
        print(f"{entrant.name}: {describe_cost(cost)}", flush=True)
        for seed in seeds:
            folder = out / f"{entrant.budget}-{entrant.name}-{seed}"
            train_one(entrant, folder, data, seed, recipe, overrides, accelerator)
            for manifest in manifests:
                statistics = score_one(folder, data, manifest)
                rows.append(row_of(entrant, seed, manifest, cost, statistics))
                print(
                    f"{entrant.name} {entrant.budget}, seed {seed}, {manifest}: "
                    f"{statistics.mean:.2f} dB {statistics.interval}",
                    flush=True,
                )
            write_results(rows, out)
    return rows


def describe_cost(cost: Cost) -> str:
    """The cost as text."""
    return (
        f"{cost.parameters / 1e6:.2f} M parameters, {cost.macs_per_second / 1e9:.2f} GMAC/s, "
        f"{cost.real_time_factor:.3f} of real time on one core, {cost.megabytes:.0f} MB"
    )


def train_one(
    entrant: Entrant,
    folder: Path,
    data: Path,
    seed: int,
    recipe: str,
    overrides: Sequence[str],
    accelerator: str,
) -> None:
    """Run or resume the recipe with the entrant's separator."""
    from ...training.config import read_recipe, recipe_from
    from ...training.loop import train

    changes = [*overrides, f"data.folder={data}", f"train.seed={seed}"]
    _, content = read_recipe(recipe, changes)
    content["separator"] = entrant.settings
    train(recipe_from(content, f"{recipe}-{entrant.name}"), content, folder, accelerator)


def score_one(folder: Path, data: Path, manifest: str) -> Statistics:
    """SI-SDR improvement of the trained separator in dB; ValueError if no item could be scored."""
    from qsep.separation.api import load

    items = load_items("sounds150", data, Path(manifest))
    scores = folder / f"scores-{Path(manifest).stem}"
    summary = evaluate(load(str(folder / "model"), "cpu"), items, scores)
    if "si_sdr_i" not in summary.overall:
        raise ValueError(f"{scores}: no item of {manifest} could be scored")
    return summary.overall["si_sdr_i"]


def row_of(entrant: Entrant, seed: int, manifest: str, cost: Cost, statistics: Statistics) -> Row:
    """The row of backbones.csv for these results."""
    return Row(
        name=entrant.name,
        budget=entrant.budget,
        seed=seed,
        manifest=Path(manifest).stem,
        **asdict(cost),
        num_items=statistics.count,
        si_sdr_i=statistics.mean,
        low=statistics.low,
        high=statistics.high,
    )


def write_results(rows: Sequence[Row], out: Path) -> None:
    """Write backbones.csv, backbones.md and, if matplotlib is installed, backbones.png."""
    text = as_csv(rows)
    write_atomically(out / "backbones.csv", lambda path: path.write_text(text, "utf-8"))
    table = as_table(rows, out)
    write_atomically(out / "backbones.md", lambda path: path.write_text(table, "utf-8"))
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    plot(rows, out / "backbones.png")


def as_csv(rows: Sequence[Row]) -> str:
    """The rows as CSV."""
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, [item.name for item in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return file.getvalue()


def averaged_over_seeds(rows: Sequence[Row], out: Path) -> dict[tuple[str, str, str], Statistics]:
    """Statistics over items of their mean over seeds, by budget, manifest and separator; best ones first."""
    scores: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for row in rows:
        items = scores.setdefault((row.budget, row.manifest, row.name), {})
        folder = out / f"{row.budget}-{row.name}-{row.seed}"
        for item in read_rows(folder / f"scores-{row.manifest}" / "items.csv"):
            if item["si_sdr_i"] is not None:
                items.setdefault(item["id"], []).append(item["si_sdr_i"])
    statistics = {
        key: describe([float(np.mean(values)) for values in items.values()])
        for key, items in scores.items()
    }
    return dict(sorted(statistics.items(), key=lambda pair: (*pair[0][:2], -pair[1].mean)))


def as_table(rows: Sequence[Row], out: Path) -> str:
    """Scores and costs, averaged over seeds, as a Markdown table. out: folder of the runs."""
    costs = {(row.budget, row.name): row for row in rows}
    seeds = {key: len({row.seed for row in rows if (row.budget, row.name) == key}) for key in costs}
    lines = [
        "| budget | mixtures | separator | SI-SDRi, dB | 95 % interval | seeds | parameters, M "
        "| GMAC/s | real time, 1 core | 2 cores | MB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (budget, manifest, name), score in averaged_over_seeds(rows, out).items():
        cost = costs[budget, name]
        lines.append(
            f"| {budget} | {manifest} | {name} | {score.mean:.2f} | {score.interval} "
            f"| {seeds[budget, name]} | {cost.parameters / 1e6:.2f} "
            f"| {cost.macs_per_second / 1e9:.2f} | {cost.real_time_factor:.3f} "
            f"| {cost.real_time_factor_2:.3f} | {cost.megabytes:.0f} |"
        )
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[Row], picture: Path) -> None:
    """Plot SI-SDR improvement on the first manifest against each cost, with error bars."""
    from matplotlib import pyplot

    first = [row for row in rows if row.manifest == rows[0].manifest]
    panels = (
        ("parameters", "parameters"),
        ("macs_per_second", "multiply-accumulates per second of audio"),
        ("real_time_factor", "real-time factor, one core"),
        ("megabytes", "memory, MB"),
    )
    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.2 * len(panels), 4), sharey=True)
    for axis, (column, label) in zip(axes, panels, strict=True):
        for row in first:
            bars = None
            if row.low is not None and row.high is not None:
                bars = [[row.si_sdr_i - row.low], [row.high - row.si_sdr_i]]
            cost = getattr(row, column)
            axis.errorbar(cost, row.si_sdr_i, bars, fmt="o", capsize=3)
            axis.annotate(row.name, (cost, row.si_sdr_i), textcoords="offset points", xytext=(5, 4))
        axis.set_xscale("log")
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(f"SI-SDR improvement on {rows[0].manifest}, dB")
    figure.tight_layout()
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)

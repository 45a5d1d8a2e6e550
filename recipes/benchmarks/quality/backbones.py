"""Separators under one recipe: quality against parameters, multiply-accumulates, speed and memory.

    qsep bench backbones --data FOLDER -o FOLDER

Each separator of `backbones.toml` is trained by the recipe `backbones`, at each seed, and scored on
manifests of sounds150; what is there already is kept. Leaves backbones.csv, one row a separator, budget,
seed and manifest; backbones.md, seeds together; and backbones.png.
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
COST_SECONDS = 4.0  # of sound, on which costs are measured


@dataclass(frozen=True)
class Entrant:
    """A separator of the bench; settings: its table, as a recipe has it."""

    name: str
    budget: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Cost:
    """Of one query on one channel: parameters, multiply-accumulates a second of sound, real-time factor on
    one core and on two, and megabytes beyond those of a process with torch alone."""

    parameters: int
    macs_per_second: float
    real_time_factor: float
    real_time_factor_2: float
    megabytes: float


@dataclass(frozen=True)
class Row:
    """One line of backbones.csv. si_sdr_i: mean SI-SDR improvement, dB, and its 95 % interval."""

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
    low: float
    high: float


def entrants(budget: str, names: Sequence[str] = (), path: Path = SEPARATORS) -> list[Entrant]:
    """Those of a budget in the file, or those of them that are named."""
    content = tomllib.loads(path.read_text("utf-8"))
    if budget not in content:
        raise ValueError(f"no budget is called {budget!r}; there are {', '.join(content)}")
    known = content[budget]
    for name in names:
        if name not in known:
            raise ValueError(f"no separator of {budget} is called {name!r}: {', '.join(known)}")
    return [Entrant(name, budget, known[name]["separator"]) for name in names or known]


def measure_cost(settings: dict[str, Any], seconds: float = COST_SECONDS) -> Cost:
    """In a process of its own, so that no other separator's memory is in the figure."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(cost_here, settings, seconds).result()


def cost_here(settings: dict[str, Any], seconds: float) -> Cost:
    """`measure_cost` in this process, whose most memory so far must be what it has now."""
    import torch

    from qsep.queries.interface import QueryEmbedding
    from qsep.separation.components import build_separator

    from ..costs.network import count_macs, num_parameters, peak_megabytes, real_time_factor

    before = peak_megabytes()
    own = {name: value for name, value in settings.items() if name != "kind"}
    separator = build_separator(settings["kind"], own).eval()
    generator = torch.Generator().manual_seed(0)
    num_samples = round(seconds * separator.sample_rate)
    mixture = 0.1 * torch.randn(1, 1, num_samples, generator=generator)
    queries = QueryEmbedding(torch.randn(1, 1, separator.query_dim, generator=generator))

    def run() -> None:
        with torch.no_grad():  # costs of use
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
    """Train and score every entrant at every seed; the rows, which are also written as they come.

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
                last = rows[-1]
                print(
                    f"{last.name} {last.budget}, seed {seed}, {manifest}: {last.si_sdr_i:.2f} dB "
                    f"[{last.low:.2f}, {last.high:.2f}]",
                    flush=True,
                )
            write_results(rows, out)
    return rows


def describe_cost(cost: Cost) -> str:
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
    """Run or continue the recipe with the entrant's separator."""
    from ...training.config import read_recipe, recipe_from
    from ...training.loop import train

    known = [*overrides, f"data.folder={data}", f"train.seed={seed}"]
    _, content = read_recipe(recipe, known)
    content["separator"] = entrant.settings
    train(recipe_from(content, f"{recipe}-{entrant.name}"), content, folder, accelerator)


def score_one(folder: Path, data: Path, manifest: str) -> Statistics:
    """SI-SDR improvement of the trained separator; the items' rows stay in the folder."""
    from qsep.separation.api import load

    items = load_items("sounds150", data, Path(manifest))
    scores = folder / f"scores-{Path(manifest).stem}"
    summary = evaluate(load(str(folder / "model"), "cpu"), items, scores)
    if "si_sdr_i" not in summary.overall:
        raise ValueError(f"{scores}: no item of {manifest} could be scored")
    return summary.overall["si_sdr_i"]


def row_of(entrant: Entrant, seed: int, manifest: str, cost: Cost, statistics: Statistics) -> Row:
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
    """backbones.csv, backbones.md and, where matplotlib is there, backbones.png."""
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
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, [item.name for item in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return file.getvalue()


def seeds_together(rows: Sequence[Row], out: Path) -> dict[tuple[str, str, str], Statistics]:
    """Of each budget, separator and manifest, each item's mean over the seeds; best separators first."""
    scores: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for row in rows:
        items = scores.setdefault((row.budget, row.manifest, row.name), {})
        folder = out / f"{row.budget}-{row.name}-{row.seed}"
        for item in read_rows(folder / f"scores-{row.manifest}" / "items.csv"):
            if item["si_sdr_i"] is not None:
                items.setdefault(item["id"], []).append(item["si_sdr_i"])
    found = {
        key: describe([float(np.mean(values)) for values in items.values()])
        for key, items in scores.items()
    }
    return dict(sorted(found.items(), key=lambda pair: (*pair[0][:2], -pair[1].mean)))


def as_table(rows: Sequence[Row], out: Path) -> str:
    costs = {(row.budget, row.name): row for row in rows}
    seeds = {key: len({row.seed for row in rows if (row.budget, row.name) == key}) for key in costs}
    lines = [
        "| budget | mixtures | separator | SI-SDRi, dB | 95 % interval | seeds | parameters, M "
        "| GMAC/s | real time, 1 core | 2 cores | MB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (budget, manifest, name), found in seeds_together(rows, out).items():
        cost = costs[budget, name]
        lines.append(
            f"| {budget} | {manifest} | {name} | {found.mean:.2f} | {found.low:.2f} to "
            f"{found.high:.2f} | {seeds[budget, name]} | {cost.parameters / 1e6:.2f} "
            f"| {cost.macs_per_second / 1e9:.2f} | {cost.real_time_factor:.3f} "
            f"| {cost.real_time_factor_2:.3f} | {cost.megabytes:.0f} |"
        )
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[Row], picture: Path) -> None:
    """SI-SDR improvement on the first manifest against each cost, intervals as bars."""
    from matplotlib import pyplot

    first = [row for row in rows if row.manifest == rows[0].manifest]
    panels = (
        ("parameters", "parameters"),
        ("macs_per_second", "multiply-accumulates a second of sound"),
        ("real_time_factor", "real-time factor, one core"),
        ("megabytes", "memory, MB"),
    )
    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.2 * len(panels), 4), sharey=True)
    for axis, (column, label) in zip(axes, panels, strict=True):
        for row in first:
            bars = [[row.si_sdr_i - row.low], [row.high - row.si_sdr_i]]
            place = getattr(row, column)
            axis.errorbar(place, row.si_sdr_i, bars, fmt="o", capsize=3)
            axis.annotate(
                row.name, (place, row.si_sdr_i), textcoords="offset points", xytext=(5, 4)
            )
        axis.set_xscale("log")
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(f"SI-SDR improvement on {rows[0].manifest}, dB")
    figure.tight_layout()
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)

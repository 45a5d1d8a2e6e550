"""Results of the bench of backbones: a row a run, a table of averages over seeds, and a plot.

backbones.csv has a row for each separator, budget, seed and manifest. backbones.md and backbones.png are made
from it and from the items' scores in the folders of the runs.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from qsep.evaluation.metrics.statistics import Statistics, describe
from qsep.evaluation.rows import read_rows
from qsep.separation.storage.temporary import write_atomically

RECIPE_NOTE = "recipe.txt"  # how the separators were trained, in a sentence
MARKERS = {"small": "o", "large": "s", "stereo": "^"}  # by budget


@dataclass(frozen=True)
class Cost:
    """Cost of one query on one channel, or on all of a separator that takes several.

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
    causal: bool
    parameters: int
    macs_per_second: float
    real_time_factor: float
    real_time_factor_2: float
    megabytes: float
    num_items: int
    si_sdr_i: float
    low: float | None
    high: float | None

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What one run has one row of."""
        return self.name, self.budget, self.seed, self.manifest


def write_results(rows: Iterable[Row], out: Path) -> None:
    """Write backbones.csv, backbones.md and, if matplotlib is installed, backbones.png. Of rows with the
    same key the last one counts."""
    latest = list({row.key: row for row in rows}.values())
    text = as_csv(latest)
    write_atomically(out / "backbones.csv", lambda path: path.write_text(text, "utf-8"))
    table = as_table(latest, out)
    write_atomically(out / "backbones.md", lambda path: path.write_text(table, "utf-8"))
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    plot(latest, out, out / "backbones.png")


def read_results(out: Path) -> list[Row]:
    """The rows of backbones.csv; none if it is not there."""
    file = out / "backbones.csv"
    if not file.exists():
        return []
    with file.open(encoding="utf-8", newline="") as lines:
        return [as_row(line) for line in csv.DictReader(lines)]


def as_row(line: dict[str, str]) -> Row:
    """A row from its text."""
    numbers: dict[str, Any] = {
        name: float(line[name])
        for name in ("macs_per_second", "real_time_factor", "real_time_factor_2", "megabytes")
    }
    return Row(
        name=line["name"],
        budget=line["budget"],
        seed=int(line["seed"]),
        manifest=line["manifest"],
        causal=line["causal"] == "True",
        parameters=int(line["parameters"]),
        num_items=int(line["num_items"]),
        si_sdr_i=float(line["si_sdr_i"]),
        low=float(line["low"]) if line["low"] else None,
        high=float(line["high"]) if line["high"] else None,
        **numbers,
    )


def with_costs(rows: Iterable[Row], budget: str, name: str, cost: Cost) -> list[Row]:
    """The rows with this cost in those of a separator."""
    return [
        replace(row, **asdict(cost)) if (row.budget, row.name) == (budget, name) else row
        for row in rows
    ]


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
    """How the separators were trained, and scores and costs, averaged over seeds, as a Markdown table.
    out: folder of the runs."""
    costs = {(row.budget, row.name): row for row in rows}
    seeds = {key: len({row.seed for row in rows if (row.budget, row.name) == key}) for key in costs}
    note = out / RECIPE_NOTE
    lines = [note.read_text("utf-8")] if note.exists() else []
    lines += [
        "| budget | mixtures | separator | causal | SI-SDRi, dB | 95 % interval | seeds "
        "| parameters, M | GMAC/s | real time, 1 core | 2 cores | MB |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (budget, manifest, name), score in averaged_over_seeds(rows, out).items():
        cost = costs[budget, name]
        lines.append(
            f"| {budget} | {manifest} | {name} | {'yes' if cost.causal else 'no'} "
            f"| {score.mean:.2f} | {score.interval} "
            f"| {seeds[budget, name]} | {cost.parameters / 1e6:.2f} "
            f"| {cost.macs_per_second / 1e9:.2f} | {cost.real_time_factor:.3f} "
            f"| {cost.real_time_factor_2:.3f} | {cost.megabytes:.0f} |"
        )
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[Row], out: Path, picture: Path) -> None:
    """Plot SI-SDR improvement on the first manifest, averaged over seeds, against each cost, with intervals.
    Marks of causal separators are hollow."""
    from matplotlib import color_sequences, pyplot, ticker

    manifest = rows[0].manifest
    costs = {(row.budget, row.name): row for row in rows}
    scores = {
        (budget, name): score
        for (budget, of, name), score in averaged_over_seeds(rows, out).items()
        if of == manifest
    }
    names = sorted({name for _, name in scores})
    colours = dict(zip(names, color_sequences["tab20"], strict=False))
    panels = (
        ("parameters", 1e6, "parameters, M"),
        ("macs_per_second", 1e9, "GMAC per second of audio"),
        ("real_time_factor_2", 1.0, "real-time factor, two cores"),
        ("megabytes", 1.0, "memory, MB"),
    )
    figure, grid = pyplot.subplots(2, 2, figsize=(10, 7), sharey=True, layout="constrained")
    for axis, (column, unit, label) in zip(grid.flat, panels, strict=True):
        for (budget, name), score in scores.items():
            row, (low, high) = costs[budget, name], score.bounds or (score.mean, score.mean)
            axis.errorbar(
                getattr(row, column) / unit,
                score.mean,
                [[score.mean - low], [high - score.mean]],
                fmt=MARKERS.get(budget, "D"),
                color=colours[name],
                markerfacecolor="white" if row.causal else colours[name],
                capsize=3,
                label=f"{name}, {budget}{', causal' if row.causal else ''}",
            )
        values = [getattr(costs[key], column) / unit for key in scores]
        axis.set_xscale("log")
        axis.set_xlim(min(values) / 1.7, 1.7 * max(values))  # so that it holds two ticks or more
        axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter("")
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
    for axis in grid[:, 0]:
        axis.set_ylabel(f"SI-SDR improvement on {manifest}, dB")
    handles, labels = grid[0, 0].get_legend_handles_labels()  # best ones first
    figure.legend(handles, labels, loc="outside right upper")
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)

"""A summary as a table to read in a terminal, in Markdown, or as a plot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from qsep.separation.checkpoint import write_atomically

from .run import Summary
from .statistics import Statistics


def title(summary: Summary) -> str:
    """Which model, on which items, and how many of them counted."""
    run = summary.run
    failed = f", {summary.num_failed} failed" if summary.num_failed else ""
    scored = f"{summary.num_scored} of {summary.num_items} items"
    return f"{run.model} on {run.manifest} ({run.condition}): {scored}{failed}; dB"


def text_table(summary: Summary) -> str:
    """The title and aligned columns: the overall row, then labels in order; failures at the end."""
    table = _table(summary)
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
    failures = [f"failed {item_id}: {error}" for item_id, error in summary.failed.items()]
    return "\n".join([title(summary), "", *lines, *failures])


def markdown_table(summary: Summary) -> str:
    """The same rows as text_table, as a Markdown table without the title."""
    header, *rows = [[cell.replace("|", "\\|") for cell in row] for row in _table(summary)]
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *rows))


def plot(summary: Summary, path: Path) -> None:
    """Write a PNG: one bar a label, SI-SDRi (or leakage of absent sounds), with its interval."""
    from matplotlib.figure import Figure  # without pyplot: Agg, no display, no global state

    metric, axis_name = (
        ("leakage_db", "leakage [dB]")
        if "leakage_db" in summary.overall
        else ("si_sdr_i", "SI-SDR improvement [dB]")
    )
    labels = [name for name, values in summary.labels.items() if metric in values]
    values = [summary.labels[name][metric] for name in labels]
    errors = [[v.mean - v.low for v in values], [v.high - v.mean for v in values]]
    figure = Figure(figsize=(7, 1.2 + 0.28 * len(labels)), layout="constrained")
    axes = figure.subplots()
    axes.barh(labels, [v.mean for v in values], xerr=errors, height=0.7, capsize=2)
    if metric in summary.overall:
        axes.axvline(summary.overall[metric].mean, color="black", linestyle="--", linewidth=1)
    axes.invert_yaxis()
    axes.set_xlabel(f"{axis_name}; bars: 95 % interval, dashed: mean of all items")
    axes.set_title(title(summary), fontsize=9)
    write_atomically(path, lambda file: figure.savefig(file, dpi=120, format="png"))


def _table(summary: Summary) -> list[list[str]]:
    """The header row, the overall row, and one row a label in sorted order."""
    if "leakage_db" in summary.overall:
        header = ["", "n", "leakage", "95 % interval", "median"]
    else:
        header = ["", "n", "SI-SDR", "SI-SDRi", "95 % interval", "SDR", "SDRi", "median SI-SDRi"]
    named = {"overall": summary.overall, **dict(sorted(summary.labels.items()))}
    return [header] + [[name, *_cells(values, len(header) - 1)] for name, values in named.items()]


def _cells(values: Mapping[str, Statistics], num_cells: int) -> list[str]:
    if "leakage_db" in values:
        v = values["leakage_db"]
        return [str(v.count), f"{v.mean:.2f}", _interval(v), f"{v.median:.2f}"]
    if "si_sdr_i" not in values:
        return ["0"] + ["-"] * (num_cells - 1)
    v = values["si_sdr_i"]
    si_sdr, sdr, sdr_i = (f"{values[m].mean:.2f}" for m in ("si_sdr", "sdr", "sdr_i"))
    return [str(v.count), si_sdr, f"{v.mean:.2f}", _interval(v), sdr, sdr_i, f"{v.median:.2f}"]


def _interval(values: Statistics) -> str:
    return f"[{values.low:.2f}, {values.high:.2f}]"

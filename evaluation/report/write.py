"""Reports of runs: a table for the terminal; one Markdown, CSV or HTML file."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from qsep.separation.storage.csv_cells import inert
from qsep.separation.storage.results import Results

from ..metrics.statistics import Statistics
from ..run import Summary
from ..scores import LOWER_IS_BETTER, Row
from .comparison import (
    Run,
    baselines,
    by_label,
    by_num_sources,
    by_setting,
    by_snr_db,
    groups,
    has,
    main_metrics,
    measured,
    same_scores,
)
from .page import html_page
from .tables import (
    BASELINE_NAMES,
    Table,
    difference_table,
    differences,
    group_table,
    published_table,
    score_tables,
)

NUM_WORST = 10
CSV_COLUMNS = (
    *("run", "manifest", "condition", "group_by", "group", "metric"),
    *("count", "mean", "median", "low", "high"),
)


def title(summary: Summary) -> str:
    """The model, the items that it was scored on, and how many of them were scored."""
    run = summary.run
    failed = f", {summary.num_failed} failed" if summary.num_failed else ""
    scored = f"{summary.num_scored} of {summary.num_items} items"
    return f"{run.model} on {run.manifest} ({run.condition}): {scored}{failed}; dB"


def text_table(summary: Summary) -> str:
    """The title, then aligned columns: overall, baselines, settings, families, labels; then failures.

    What would repeat the overall row, such as the only label, is named below the table instead.
    """
    table, repeated = _table(summary)
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
    notes = [f"same as overall: {', '.join(repeated)}"] if repeated else []
    silent = ", ".join(f"{n} of the {signal}s" for signal, n in summary.num_silent.items() if n)
    notes += [f"silent: {silent}"] if silent else []
    if summary.frechet_distance is not None:
        notes.append(f"Fréchet audio distance: {summary.frechet_distance:.4f}")
    if summary.published:
        width = max(map(len, summary.published))
        figures = [f"{name:{width}}  {value:.4f}" for name, value in summary.published.items()]
        notes += ["", "averaged as in the publication:", *figures]
        notes += [f"unconfirmed: {summary.unconfirmed}"] if summary.unconfirmed else []
    if len(summary.labels) > NUM_WORST:
        notes += ["", f"worst {NUM_WORST} labels: {', '.join(worst_labels(summary))}"]
    failures = [f"failed {item_id}: {error}" for item_id, error in summary.failed.items()]
    return "\n".join([title(summary), "", *lines, *notes, *failures])


def worst_labels(summary: Summary) -> list[str]:
    """The NUM_WORST labels with the lowest mean SI-SDRi, or the highest leakage; the worst first."""
    metric = "leakage_db" if "leakage_db" in summary.overall else "si_sdr_i"
    means = {name: v[metric].mean for name, v in summary.labels.items() if metric in v}
    ordered = sorted(means, key=lambda name: means[name], reverse=metric in LOWER_IS_BETTER)
    return [f"{name} {means[name]:.1f}" for name in ordered[:NUM_WORST]]


def write_report(runs: Sequence[Run], path: Path) -> None:
    """Write a report in the format of the path's suffix: .html, .md or .csv.

    Raises ValueError for another suffix, or if the file exists and is no report.
    """
    formats = {".html": html_page, ".md": markdown, ".csv": as_csv}
    if path.suffix not in formats:
        raise ValueError(f"{path}: a report is a file .html, .md or .csv")
    results = Results(path.parent, "report", shared=True)
    results.claim(path.name)
    content = formats[path.suffix](runs)
    results.write_text(path.name, content)


def markdown(runs: Sequence[Run]) -> str:
    """Scores, paired differences and scores by label, each a Markdown table under a heading."""
    tables = score_tables(runs)
    metrics = main_metrics(runs)
    if any(run.published for run in runs):
        tables.append(published_table(runs))
    if len(runs) > 1:
        tables.append(difference_table(runs, metrics))
    for metric in metrics:
        by_labels = group_table([run for run in runs if has(run, metric)], metric, "label")
        if len(by_labels.rows) > 1:  # a single label would repeat the overall scores
            tables.append(by_labels)
    failed = [
        f"- {run.name}, {item_id}: {error}" for run in runs for item_id, error in run.failed.items()
    ]
    parts = [f"## {table.title}\n\n{markdown_table(table)}" for table in tables]
    if failed:
        parts.append("## Failed items\n\n" + "\n".join(failed))
    return "\n\n".join(parts) + "\n"


def markdown_table(table: Table) -> str:
    """The table in Markdown; columns of numbers are aligned to the right."""
    rows = [list(table.header), *([cell.text for cell in row] for row in table.rows)]
    header, *body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    numeric = [any(row[i].value is not None for row in table.rows) for i in range(len(header))]
    rule = ["---:" if is_number else "---" for is_number in numeric]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *body))


def as_csv(runs: Sequence[Run]) -> str:
    """Every statistic of every run, group and pair of runs, one a line, with CSV_COLUMNS."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for run in runs:
        identity = (run.name, run.identity["manifest"], run.identity["condition"])
        for group_by, group, metric, values in _statistics(run):
            writer.writerow(inert((*identity, group_by, group, metric, *_numbers(values))))
    for paired in differences(runs, main_metrics(runs)):
        identity = (paired.first.name, paired.first.identity["manifest"], "")
        second = f"{paired.second.name} ({paired.second.identity['condition']})"
        writer.writerow(
            inert((*identity, "minus", second, paired.metric, *_numbers(paired.values)))
        )
    return file.getvalue()


def _statistics(run: Run) -> Iterator[tuple[str, Any, str, Statistics]]:
    for metric, values in measured(run).items():
        yield "", "", metric, values
    for name, scores in baselines(run).items():
        for metric, values in scores.items():
            yield "baseline", name, metric, values
    keys: dict[str, Callable[[Row], Any]] = {"label": by_label, "setting": by_setting}
    keys |= {"num_sources": by_num_sources, "snr_db": by_snr_db}
    for group_by, key in keys.items():
        for metric in main_metrics([run]):
            for group, values in groups(run, metric, key).items():
                yield group_by, group, metric, values


def _numbers(values: Statistics) -> tuple[float | str, ...]:
    """Cells of CSV_COLUMNS from count on."""
    return values.count, values.mean, values.median, *(values.bounds or ("", ""))


def _table(summary: Summary) -> tuple[list[list[str]], list[str]]:
    """The header row and the rows; and the names of the groups whose rows would repeat the overall row.

    A family whose only scored label is listed would repeat that label's row, and is left out.
    """
    if "leakage_db" in summary.overall:
        header = ["", "n", "leakage", "95 % interval", "median"]
    else:
        header = ["", "n", "SI-SDR", "SI-SDRi", "95 % interval", "SDR", "SDRi", "median SI-SDRi"]
    groups = [(BASELINE_NAMES[name], values) for name, values in summary.baselines.items()]
    groups += summary.settings.items()
    groups += [
        (f"family {family}", values)
        for family, values in summary.families.items()
        if same_scores(values, summary.overall)
        or not any(same_scores(values, label) for label in summary.labels.values())
    ]
    groups += summary.labels.items()
    repeated = [name for name, values in groups if same_scores(values, summary.overall)]
    rows = [("overall", summary.overall)]
    rows += [(name, values) for name, values in groups if name not in repeated]
    return [header, *([name, *_cells(values, len(header) - 1)] for name, values in rows)], repeated


def _cells(values: Mapping[str, Statistics], num_cells: int) -> list[str]:
    if "leakage_db" in values:
        v = values["leakage_db"]
        return [str(v.count), f"{v.mean:.2f}", v.interval, f"{v.median:.2f}"]
    if "si_sdr_i" not in values:
        return ["0"] + ["-"] * (num_cells - 1)
    v = values["si_sdr_i"]
    si_sdr, sdr, sdr_i = (f"{values[m].mean:.2f}" for m in ("si_sdr", "sdr", "sdr_i"))
    return [str(v.count), si_sdr, f"{v.mean:.2f}", v.interval, sdr, sdr_i, f"{v.median:.2f}"]

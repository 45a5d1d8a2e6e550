"""Tables of runs: scores beside their baselines, paired differences, labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from ..metrics.statistics import Statistics
from ..scores import METRICS, Row
from .comparison import (
    Difference,
    Run,
    baselines,
    by_label,
    by_setting,
    difference,
    groups,
    measured,
)

NAMES = {
    "si_sdr": "SI-SDR [dB]",
    "si_sdr_i": "SI-SDRi [dB]",
    "sdr": "SDR [dB]",
    "sdr_i": "SDRi [dB]",
    "sa_sdr": "SA-SDR [dB]",
    "lsd_db": "log-spectral distance [dB]",
    "mr_distance": "multi-resolution distance",
    "text_score": "similarity to text",
    "audio_score": "similarity to target",
    "leakage_db": "leakage [dB]",
    "bss_sdr": "BSSEval SDR [dB]",
    "bss_isr": "BSSEval ISR [dB]",
    "bss_sir": "BSSEval SIR [dB]",
    "bss_sar": "BSSEval SAR [dB]",
    "bss3_sdr": "BSSEval 3 SDR [dB]",
    "bss3_sir": "BSSEval 3 SIR [dB]",
    "bss3_sar": "BSSEval 3 SAR [dB]",
    "frames_sdr": "BSSEval SDR, median of frames [dB]",
    "frames_isr": "BSSEval ISR, median of frames [dB]",
    "frames_sir": "BSSEval SIR, median of frames [dB]",
    "frames_sar": "BSSEval SAR, median of frames [dB]",
    "uncentred_si_sdr": "SI-SDR, means kept [dB]",
}
BASELINE_NAMES = {
    "mixture": "unprocessed mixture",
    "random_query": "asked for another sound",
    "label_query": "asked by the label's name",
    "ibm": "ideal binary mask",
    "irm": "ideal ratio mask",
    "psm": "ideal phase-sensitive mask",
}


@dataclass(frozen=True)
class Cell:
    """What is shown, and the number that it is sorted by, if it is one."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """A table of a report: one cell in each row for each name in the header."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def score_table(runs: Sequence[Run]) -> Table:
    """A row for each run, and for each of its baselines; every metric that any run has."""
    found = [measured(run) for run in runs]
    metrics = [metric for metric in METRICS if any(metric in own for own in found)]
    with_distance = any(run.frechet_distance is not None for run in runs)
    rows = []
    for run, own in zip(runs, found, strict=True):
        distance = [number(run.frechet_distance)] if with_distance else []
        cells = [interval(own.get(metric)) for metric in metrics]
        rows.append((*_named(run.name, run, len(run.rows)), *cells, *distance))
        for name, scores in baselines(run).items():
            cells = [interval(scores.get(metric)) for metric in metrics]
            counted = _named(f"{run.name}: {BASELINE_NAMES[name]}", run, scores["sdr"].count)
            rows.append((*counted, *cells, *[number(None)] * with_distance))
    header = ("run", "items of", "n", *(NAMES[m] for m in metrics))
    header += ("Fréchet distance",) * with_distance
    return Table("Scores: mean and 95 % interval", header, tuple(rows))


def published_table(runs: Sequence[Run]) -> Table:
    """What each protocol's publication reports, averaged as there."""
    rows = [
        (Cell(run.name), Cell(run.items_name), Cell(figure), number(value))
        for run in runs
        for figure, value in run.published.items()
    ]
    header = ("run", "items of", "figure", "value")
    return Table("Figures as the protocol's publication averages them", header, tuple(rows))


def difference_table(runs: Sequence[Run], metrics: Sequence[str]) -> Table:
    """Every pair of runs over the same mixtures, item by item."""
    rows = [
        (
            Cell(found.first.name),
            Cell(found.second.name),
            Cell(NAMES[found.metric]),
            number(found.values.count, 0),
            interval(found.values),
            number(found.values.median),
            number(100 * found.num_better / found.values.count, 0),
            Cell(found.verdict),
        )
        for found in differences(runs, metrics)
    ]
    header = (
        *("A", "B", "metric", "n", "mean of A - B", "median of A - B"),
        *("A better, % of items", "verdict"),
    )
    return Table("Paired differences: mean and 95 % interval", header, tuple(rows))


def differences(runs: Sequence[Run], metrics: Sequence[str]) -> Iterator[Difference]:
    for first, second in combinations(runs, 2):
        for metric in metrics:
            if found := difference(first, second, metric):
                yield found


def group_table(
    runs: Sequence[Run], metric: str, title: str, key: Callable[[Row], Any] = by_label
) -> Table:
    """A row for each group, a column for each run."""
    rows = [
        (
            Cell(str(group), group if isinstance(group, int) else None),
            number(max(values.count for values in own if values), 0),
            *(interval(values) for values in own),
        )
        for group, own in grouped(runs, metric, key).items()
    ]
    header = (title, "n", *(f"{run.name}, {run.items_name}" for run in runs))
    return Table(f"{NAMES[metric]} for each {title}", header, tuple(rows))


def grouped(
    runs: Sequence[Run], metric: str, key: Callable[[Row], Any]
) -> Mapping[Any, list[Statistics | None]]:
    """For each group, the statistics of each run, None where it has no such item."""
    found = [groups(run, metric, key) for run in runs]
    names = list(dict.fromkeys(name for own in found for name in own))
    order = names if key is by_setting else sorted(names)
    return {name: [own.get(name) for own in found] for name in order}


def interval(values: Statistics | None) -> Cell:
    if values is None:
        return Cell("")
    return Cell(f"{values.mean:.2f} [{values.low:.2f}, {values.high:.2f}]", values.mean)


def number(value: float | None, digits: int = 2) -> Cell:
    return Cell("" if value is None else f"{value:.{digits}f}", value)


def _named(name: str, run: Run, count: int) -> tuple[Cell, Cell, Cell]:
    return Cell(name), Cell(run.items_name), number(count, 0)

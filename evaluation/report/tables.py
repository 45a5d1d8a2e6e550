"""Tables of a report: scores and baselines, published figures, paired differences, scores by group."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from ..metrics.statistics import Statistics
from ..scores import BSS, BSS3, EMBEDDED, FRAMES, SDRS, SPECTRAL, Row
from .comparison import (
    Difference,
    Run,
    baselines,
    by_label,
    by_setting,
    difference,
    groups,
    measured,
    same_scores,
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
    "capi_sdr_i": "CAPI-SDRi of a class [dB]",
}
# One table each, so that a table is no wider than a page.
SCORE_TABLES = {
    "Scores": SDRS,
    "Leakage where the sound is absent": ("leakage_db",),
    "Other scores": ("sa_sdr", *SPECTRAL, *EMBEDDED),
    "BSSEval version 4": BSS,
    "BSSEval version 4, medians of frames": FRAMES,
    "BSSEval version 3": (*BSS3, "uncentred_si_sdr"),
    "Class-aware scores": ("capi_sdr_i",),
}
MAIN_TABLE, FRECHET_TABLE = "Scores", "Other scores"
BASELINE_NAMES = {
    "mixture": "unprocessed mixture",
    "random_query": "query for another sound",
    "label_query": "query by the label's name",
    "ibm": "ideal binary mask",
    "irm": "ideal ratio mask",
    "psm": "ideal phase-sensitive mask",
}
QUERY_BASELINES = ("random_query", "label_query")  # the other baselines do not depend on the model


@dataclass(frozen=True)
class Cell:
    """A cell of a table. value: the number that it is sorted by; None for text and empty cells."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """A table of a report: each row has one cell for each name in the header."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def score_tables(runs: Sequence[Run]) -> list[Table]:
    """Means with 95 % intervals, one table for each of SCORE_TABLES that any run has scores for.

    A row for each run that has any of the scores; in MAIN_TABLE also for its baselines. Baselines that do
    not depend on the model are listed once for each set of items, and a baseline that equals its run is
    left out.
    """
    scores = [measured(run) for run in runs]
    distances = [run.frechet_distance for run in runs]
    tables = []
    for title, candidates in SCORE_TABLES.items():
        metrics = [m for m in candidates if any(m in run_scores for run_scores in scores)]
        distance_shown = title == FRECHET_TABLE and any(d is not None for d in distances)
        if not metrics and not distance_shown:
            continue
        rows: list[tuple[Cell, ...]] = []
        listed: list[tuple[str, str, Mapping[str, Statistics]]] = []
        for run, run_scores, distance in zip(runs, scores, distances, strict=True):
            cells = [interval(run_scores.get(metric)) for metric in metrics]
            cells += [number(distance)] * distance_shown
            if any(cell.text for cell in cells):
                rows.append((*_row_head(run.name, run, len(run.rows)), *cells))
            if title == MAIN_TABLE:
                rows += _baseline_rows(run, run_scores, metrics, listed)
        header = ("run", "items of", "n", *(NAMES[metric] for metric in metrics))
        header += ("Fréchet distance",) * distance_shown
        tables.append(Table(f"{title}: mean and 95 % interval", header, tuple(rows)))
    return tables


def _baseline_rows(
    run: Run,
    run_scores: Mapping[str, Statistics],
    metrics: Sequence[str],
    listed: list[tuple[str, str, Mapping[str, Statistics]]],
) -> Iterator[tuple[Cell, ...]]:
    """Rows of the run's baselines. listed: those listed so far (name, items, scores); extended in place."""
    for name, scores in baselines(run).items():
        if same_scores(scores, run_scores):
            continue
        row_name, items = BASELINE_NAMES[name], run.items_name
        if name in QUERY_BASELINES:
            row_name = f"{run.name}: {row_name}"
        earlier = [s for n, i, s in listed if (n, i) == (row_name, items)]
        if any(same_scores(scores, other) for other in earlier):
            continue
        listed.append((row_name, items, scores))
        if earlier:  # the same baseline over other items of the set, as where some items failed
            row_name = f"{run.name}: {row_name}"
        cells = [interval(scores.get(metric)) for metric in metrics]
        yield (*_row_head(row_name, run, scores["sdr"].count), *cells)


def published_table(runs: Sequence[Run]) -> Table:
    """The figures of each protocol's publication, averaged as it averages them."""
    rows = [
        (Cell(run.name), Cell(run.items_name), Cell(figure), number(value))
        for run in runs
        for figure, value in run.published.items()
    ]
    header = ("run", "items of", "figure", "value")
    return Table("Figures as the protocol's publication averages them", header, tuple(rows))


def difference_table(runs: Sequence[Run], metrics: Sequence[str]) -> Table:
    """Paired differences of every pair of runs over the same mixtures."""
    rows = [
        (
            Cell(paired.first.name),
            Cell(paired.second.name),
            Cell(NAMES[paired.metric]),
            number(paired.values.count, 0),
            interval(paired.values),
            number(paired.values.median),
            number(100 * paired.num_better / paired.values.count, 0),
            Cell(paired.verdict),
        )
        for paired in differences(runs, metrics)
    ]
    header = (
        *("A", "B", "metric", "n", "mean of A - B", "median of A - B"),
        *("A better, % of items", "verdict"),
    )
    return Table("Paired differences: mean and 95 % interval", header, tuple(rows))


def differences(runs: Sequence[Run], metrics: Sequence[str]) -> Iterator[Difference]:
    """Every pair of runs of the same mixtures and every metric that both have."""
    for first, second in combinations(runs, 2):
        for metric in metrics:
            if paired := difference(first, second, metric):
                yield paired


def group_table(
    runs: Sequence[Run], metric: str, title: str, key: Callable[[Row], Any] = by_label
) -> Table:
    """A row for each group, a column for each run; a count of items before the runs of each condition."""
    columns = _runs_by_items(runs)
    header = [title]
    for items, numbers in columns.items():
        header.append("n" if len(columns) == 1 else f"n, {items}")
        header += [runs[i].name for i in numbers]
    rows = []
    for group, statistics in grouped(runs, metric, key).items():
        cells = [Cell(str(group), group if isinstance(group, int) else None)]
        for numbers in columns.values():
            of_condition = [statistics[i] for i in numbers]
            counts = [values.count for values in of_condition if values]
            cells += [number(max(counts, default=None), 0), *map(interval, of_condition)]
        rows.append(tuple(cells))
    return Table(f"{NAMES[metric]} for each {title}", tuple(header), tuple(rows))


def _runs_by_items(runs: Sequence[Run]) -> dict[str, list[int]]:
    """The numbers of the runs over each set of items, by its name."""
    columns: dict[str, list[int]] = {}
    for i, run in enumerate(runs):
        columns.setdefault(run.items_name, []).append(i)
    return columns


def grouped(
    runs: Sequence[Run], metric: str, key: Callable[[Row], Any]
) -> Mapping[Any, list[Statistics | None]]:
    """For each group the statistics of each run, None where a run has no item of the group."""
    by_run = [groups(run, metric, key) for run in runs]
    names = list(dict.fromkeys(name for run_groups in by_run for name in run_groups))
    order = names if key is by_setting else sorted(names)
    return {name: [run_groups.get(name) for run_groups in by_run] for name in order}


def interval(values: Statistics | None) -> Cell:
    """Mean and 95 % interval; an empty cell for None."""
    if values is None:
        return Cell("")
    return Cell(values.mean_with_interval, values.mean)


def number(value: float | None, digits: int = 2) -> Cell:
    """A number with this many decimals; an empty cell for None."""
    return Cell("" if value is None else f"{value:.{digits}f}", value)


def _row_head(name: str, run: Run, count: int) -> tuple[Cell, Cell, Cell]:
    return Cell(name), Cell(run.items_name), number(count, 0)

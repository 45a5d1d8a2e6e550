"""Averages of per-item scores, and proportions, with confidence intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

NUM_RESAMPLES = 10_000
SEED = 0
BLOCK_VALUES = 1 << 22  # 32 MB of resampled values at a time, however many items there are


@dataclass(frozen=True)
class Statistics:
    """Statistics of `count` values. low, high: bootstrap 95 % interval of the mean, in the values' unit; None
    for one value, which does not tell how much others differ."""

    count: int
    mean: float
    median: float
    low: float | None
    high: float | None

    @property
    def bounds(self) -> tuple[float, float] | None:
        """low and high, or None for one value."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def interval_as(self, form: str) -> str:
        """The interval as text, both ends in this format; "-" for one value."""
        return f"[{', '.join(format(end, form) for end in self.bounds)}]" if self.bounds else "-"

    @property
    def interval(self) -> str:
        """The interval with two decimals; "-" for one value."""
        return self.interval_as(".2f")

    @property
    def mean_with_interval(self) -> str:
        """The mean and, of several values, its interval, with two decimals."""
        return f"{self.mean:.2f} {self.interval}".removesuffix(" -")


def bootstrap_interval(
    values: Sequence[float],
    generator: np.random.Generator,
    num_resamples: int = NUM_RESAMPLES,
    level: float = 0.95,
) -> tuple[float, float]:
    """Bootstrap percentile interval of the mean (Efron 1979): quantiles of the means of resamples.

    values: at least one; a single value, or equal values, give an interval of zero width. level: coverage,
    in (0, 1).
    """
    data = np.asarray(values, dtype=np.float64)
    rows = max(1, BLOCK_VALUES // len(data))
    means = [
        data[generator.integers(len(data), size=(min(rows, num_resamples - done), len(data)))].mean(
            axis=1
        )
        for done in range(0, num_resamples, rows)
    ]
    tail = (1 - level) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(low), float(high)


def binomial_interval(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of a proportion (Clopper and Pearson 1934), in [0, 1].

    successes: of `trials`, at least one. level: coverage, in (0, 1), reached or exceeded.
    """
    from scipy.special import betaincinv

    tail, failures = (1 - level) / 2, trials - successes
    low = betaincinv(successes, failures + 1, tail) if successes else 0.0
    high = betaincinv(successes + 1, failures, 1 - tail) if failures else 1.0
    return float(low), float(high)


def describe(values: Sequence[float]) -> Statistics:
    """Statistics of at least one value; deterministic for the same values in the same order."""
    count, mean, median = len(values), float(np.mean(values)), float(np.median(values))
    if count == 1:
        return Statistics(count, mean, median, None, None)
    return Statistics(count, mean, median, *bootstrap_interval(values, np.random.default_rng(SEED)))


def describe_rows(
    rows: Iterable[Mapping[str, Any]], metrics: Sequence[str]
) -> dict[str, Statistics]:
    """Statistics by metric, for each that at least one row has; None is no value."""
    table = list(rows)
    columns = {m: [row[m] for row in table if row[m] is not None] for m in metrics}
    return {metric: describe(values) for metric, values in columns.items() if values}


def describe_groups(
    rows: Sequence[Mapping[str, Any]], metrics: Sequence[str], group: str
) -> dict[str, dict[str, Statistics]]:
    """Statistics by group and metric: rows grouped by the column `group`, sorted by its value."""
    names = sorted({row[group] for row in rows})
    return {n: describe_rows([r for r in rows if r[group] == n], metrics) for n in names}


def describe_families(
    rows: Sequence[Mapping[str, Any]],
    metrics: Sequence[str],
    families: Mapping[str, Sequence[str]],
) -> dict[str, dict[str, Statistics]]:
    """Statistics by family and metric, sorted by family. families: those of each label."""
    members: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        for family in families.get(row["label"], ()):
            members.setdefault(family, []).append(row)
    return {name: describe_rows(members[name], metrics) for name in sorted(members)}

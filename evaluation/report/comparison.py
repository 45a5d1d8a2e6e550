"""Runs read back from their folders and set side by side: groups of items, paired differences."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..baselines import baseline_rows
from ..metrics.statistics import Statistics, describe, describe_rows
from ..rows import read_rows
from ..scores import LOWER_IS_BETTER, METRICS, SDRS, Row

SNR_STEP_DB = 5


@dataclass(frozen=True)
class Run:
    """What `evaluate` left in a folder. name: of the model, with the folder's where it needs one.

    identity: the fields of RunIdentity; the rest as Summary has it.
    """

    name: str
    folder: Path
    identity: Mapping[str, Any]
    rows: tuple[Row, ...]
    num_items: int
    failed: Mapping[str, str]
    num_silent: Mapping[str, int]
    published: Mapping[str, float]
    frechet_distance: float | None

    @property
    def items_name(self) -> str:
        return f"{self.identity['manifest']} ({self.identity['condition']})"


@dataclass(frozen=True)
class Difference:
    """first - second of a metric, over the items that both scored; num_better: where first is."""

    first: Run
    second: Run
    metric: str
    values: Statistics
    num_better: int

    @property
    def verdict(self) -> str:
        """Which run is better, if the 95 % interval of the mean difference leaves out zero."""
        if self.values.low <= 0 <= self.values.high:
            return "no difference shown"
        is_first = (self.values.mean > 0) != (self.metric in LOWER_IS_BETTER)
        return f"{(self.first if is_first else self.second).name} is better"


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Each folder's run; runs of one model are told apart by their folders' names."""
    contents = [_read_summary(folder) for folder in folders]
    models = [content["run"]["model"] for content in contents]
    runs = []
    for folder, content, model in zip(folders, contents, models, strict=True):
        name = model if Counter(models)[model] == 1 else f"{model}, {folder.resolve().name}"
        runs.append(
            Run(
                name,
                folder,
                content["run"],
                tuple(read_rows(folder / "items.csv")),
                content["num_items"],
                content["failed"],
                content["num_silent"],
                content["published"],
                content["frechet_distance"],
            )
        )
    return runs


def measured(run: Run) -> dict[str, Statistics]:
    """Each metric that the run's items have."""
    return describe_rows(run.rows, METRICS)


def has(run: Run, metric: str) -> bool:
    return any(row[metric] is not None for row in run.rows)


def main_metrics(runs: Sequence[Run]) -> list[str]:
    """Of the two that items are ranked by, those that any run has."""
    return [m for m in ("si_sdr_i", "leakage_db") if any(has(run, m) for run in runs)]


def baselines(run: Run) -> dict[str, dict[str, Statistics]]:
    return {name: describe_rows(rows, SDRS) for name, rows in baseline_rows(run.rows).items()}


def difference(first: Run, second: Run, metric: str) -> Difference | None:
    """None where the runs' manifests differ, or no item has the metric in both."""
    if first.identity["manifest_sha256"] != second.identity["manifest_sha256"]:
        return None
    seconds = {row["id"]: row[metric] for row in second.rows}
    pairs = [(row[metric], seconds.get(row["id"])) for row in first.rows]
    values = [a - b for a, b in pairs if a is not None and b is not None]
    if not values:
        return None
    sign = -1 if metric in LOWER_IS_BETTER else 1
    return Difference(first, second, metric, describe(values), sum(sign * v > 0 for v in values))


def groups(run: Run, metric: str, key: Callable[[Row], Any]) -> dict[Any, Statistics]:
    """The metric for each value of the key; a key of None leaves an item out.

    Settings stand in the order of the items, other values in their own.
    """
    found: dict[Any, list[float]] = {}
    for row in run.rows:
        if row[metric] is not None and key(row) is not None:
            found.setdefault(key(row), []).append(row[metric])
    order = list(found) if key is by_setting else sorted(found)
    return {value: describe(found[value]) for value in order}


def by_label(row: Row) -> str:
    return str(row["label"])


def by_setting(row: Row) -> str | None:
    return row["setting"] or None


def by_num_sources(row: Row) -> int | None:
    number: int | None = row["num_sources"]
    return number


def by_snr_db(row: Row) -> int | None:
    """The target over the rest, to the nearest SNR_STEP_DB: the mixture's own SDR says it."""
    if row["sdr"] is None:
        return None
    return SNR_STEP_DB * round((row["sdr"] - row["sdr_i"]) / SNR_STEP_DB)


def _read_summary(folder: Path) -> dict[str, Any]:
    path = folder / "summary.json"
    if not path.is_file() or not (folder / "items.csv").is_file():
        raise ValueError(f"{folder} is not a folder that `qsep evaluate` wrote")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        wanted = {"run", "num_items", "failed", "num_silent", "published", "frechet_distance"}
        if missing := sorted(wanted - content.keys()):
            raise ValueError(f"it lacks {', '.join(missing)}")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: not a summary of this version: {error}; evaluate anew") from None
    return dict(content)

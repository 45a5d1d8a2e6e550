"""Runs read back from their folders and compared: groups of items, paired differences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qsep.queries.files.json_files import json_content

from ..baselines import baseline_rows
from ..metrics.statistics import Statistics, describe, describe_rows
from ..rows import read_rows
from ..scores import LOWER_IS_BETTER, METRICS, SDRS, Row

SNR_STEP_DB = 5


@dataclass(frozen=True)
class Run:
    """A run that `evaluate` wrote to a folder. name: the model's, with the folder's if several runs share it.

    identity: the fields of RunIdentity; the other fields are those of Summary.
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
        """The manifest and the condition that the run was scored on."""
        return f"{self.identity['manifest']} ({self.identity['condition']})"


@dataclass(frozen=True)
class Difference:
    """Paired differences, first - second, of a metric over the items that both runs scored.

    num_better: number of items on which the first run is better.
    """

    first: Run
    second: Run
    metric: str
    values: Statistics
    num_better: int

    @property
    def verdict(self) -> str:
        """Which run is better, if the 95 % interval of the mean difference excludes zero, if there is one."""
        bounds = self.values.bounds
        if bounds is None or bounds[0] <= 0 <= bounds[1]:
            return "no difference shown"
        is_first = (self.values.mean > 0) != (self.metric in LOWER_IS_BETTER)
        return f"{(self.first if is_first else self.second).name} is better"


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """The run of each folder; runs of the same model get their folder's name as well.

    Raises ValueError for a folder that `evaluate` did not write, or that an older version wrote.
    """
    summaries = [_read_summary(folder) for folder in folders]
    models = [summary["run"]["model"] for summary in summaries]
    runs = []
    for folder, summary, model in zip(folders, summaries, models, strict=True):
        name = model if Counter(models)[model] == 1 else f"{model}, {folder.resolve().name}"
        runs.append(
            Run(
                name,
                folder,
                summary["run"],
                tuple(read_rows(folder / "items.csv")),
                summary["num_items"],
                summary["failed"],
                summary["num_silent"],
                summary["published"],
                summary["frechet_distance"],
            )
        )
    return runs


def measured(run: Run) -> dict[str, Statistics]:
    """Statistics of every metric that at least one item of the run has."""
    return describe_rows(run.rows, METRICS)


def has(run: Run, metric: str) -> bool:
    """Whether any item of the run has the metric."""
    return any(row[metric] is not None for row in run.rows)


def main_metrics(runs: Sequence[Run]) -> list[str]:
    """SI-SDR improvement and leakage, those of the two that any run has."""
    return [m for m in ("si_sdr_i", "leakage_db") if any(has(run, m) for run in runs)]


def baselines(run: Run) -> dict[str, dict[str, Statistics]]:
    """Statistics of the SDR metrics of each baseline that was scored beside the run's model."""
    return {name: describe_rows(rows, SDRS) for name, rows in baseline_rows(run.rows).items()}


def same_scores(first: Mapping[str, Statistics], second: Mapping[str, Statistics]) -> bool:
    """Whether two sets of scores agree in every metric that both have, and share at least one.

    Improvements are not compared: they are differences of rounded scores and may differ in the last digit.
    """
    shared = (first.keys() & second.keys()) - {"si_sdr_i", "sdr_i"}
    return bool(shared) and all(first[metric] == second[metric] for metric in shared)


def difference(first: Run, second: Run, metric: str) -> Difference | None:
    """Paired differences of a metric; None if the manifests differ or no item has it in both runs."""
    if first.identity["manifest_sha256"] != second.identity["manifest_sha256"]:
        return None
    second_scores = {row["id"]: row[metric] for row in second.rows}
    pairs = [(row[metric], second_scores.get(row["id"])) for row in first.rows]
    values = [a - b for a, b in pairs if a is not None and b is not None]
    if not values:
        return None
    sign = -1 if metric in LOWER_IS_BETTER else 1
    return Difference(first, second, metric, describe(values), sum(sign * v > 0 for v in values))


def groups(run: Run, metric: str, key: Callable[[Row], Any]) -> dict[Any, Statistics]:
    """Statistics of a metric for each value of the key; items with the key None are left out.

    Settings keep the order of the items; other keys are sorted.
    """
    scores: dict[Any, list[float]] = {}
    for row in run.rows:
        if row[metric] is not None and key(row) is not None:
            scores.setdefault(key(row), []).append(row[metric])
    order = list(scores) if key is by_setting else sorted(scores)
    return {value: describe(scores[value]) for value in order}


def by_label(row: Row) -> str:
    """Group key: the label of the target."""
    return str(row["label"])


def by_setting(row: Row) -> str | None:
    """Group key: the setting of the condition, such as a level; None if the condition has none."""
    return row["setting"] or None


def by_num_sources(row: Row) -> int | None:
    """Group key: the number of sources in the mixture; None if the protocol does not know it."""
    number: int | None = row["num_sources"]
    return number


def by_snr_db(row: Row) -> int | None:
    """Group key: SNR of the target in the mixture in dB, to the nearest SNR_STEP_DB.

    It equals the SDR of the unprocessed mixture, sdr - sdr_i. None for an absent target.
    """
    if row["sdr"] is None:
        return None
    return SNR_STEP_DB * round((row["sdr"] - row["sdr_i"]) / SNR_STEP_DB)


def _read_summary(folder: Path) -> dict[str, Any]:
    path = folder / "summary.json"
    if not path.is_file() or not (folder / "items.csv").is_file():
        raise ValueError(f"{folder} is not a folder that `qsep evaluate` wrote")
    try:
        content = json_content(path)
        required = {"run", "num_items", "failed", "num_silent", "published", "frechet_distance"}
        if missing := sorted(required - content.keys()):
            raise ValueError(f"it lacks {', '.join(missing)}")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: not a summary of this version: {error}; evaluate anew") from None
    return dict(content)

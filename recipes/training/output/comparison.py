"""Comparing two runs: what they were made with, and their validation scores item by item."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from qsep.evaluation.metrics.statistics import describe
from qsep.queries.files.json_files import json_content

from .log import RECIPE, differing, read_log
from .record import read_sessions


def compare_runs(first: Path, second: Path) -> Iterator[str]:
    """Lines: settings that differ, what else the runs were made with, and their scores at their best.

    Raises ValueError for a folder without a run.
    """
    recipes = [read_run_recipe(folder) for folder in (first, second)]
    names = (str(first), str(second))
    yield f"A: {first}"
    yield f"B: {second}"
    yield from section("settings", differing(recipes[0], recipes[1]))
    yield from section("made with", differing(session_facts(first), session_facts(second)))
    for name, folder in zip("AB", names, strict=True):
        for entry in read_log(Path(folder) / "log.jsonl"):
            if "changed" in entry:
                yield from section(f"{name} from step {entry['step']} on", entry["changed"])
    yield ""
    yield from scores(recipes, [best_validation(Path(folder)) for folder in names])


def read_run_recipe(folder: Path) -> dict[str, Any]:
    """The recipe of the run in a folder; ValueError if it holds none."""
    try:
        content: dict[str, Any] = json_content(folder / RECIPE)
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder}: not the folder of a run of qsep train") from error
    return content


def session_facts(folder: Path) -> dict[str, Any]:
    """What is known of the last session of a run, but for the step that it began at."""
    last = (read_sessions(folder) or [{}])[-1]
    return {key: value for key, value in last.items() if key != "step" and value is not None}


def section(title: str, changes: Mapping[str, Any]) -> Iterator[str]:
    """A title and a line for each value that differs."""
    yield ""
    yield f"{title}:" if changes else f"{title}: the same"
    for name, (old, new) in changes.items():
        yield f"  {name}: {old} | {new}"


def best_validation(folder: Path) -> dict[str, Any] | None:
    """The log's validation with the highest mean merit, the earliest of equal ones; None if there is none."""
    validations = [entry for entry in read_log(folder / "log.jsonl") if entry.get("merits")]
    return max(validations, key=mean_merit, default=None)


def mean_merit(validation: Mapping[str, Any]) -> float:
    """The mean of a validation's merits."""
    merits: list[float] = validation["merits"]
    return sum(merits) / len(merits)


def scores(
    recipes: list[dict[str, Any]], validations: list[dict[str, Any] | None]
) -> Iterator[str]:
    """The best validation of each run, and their difference item by item if the items are the same."""
    for name, validation in zip("AB", validations, strict=True):
        if validation is None:
            yield f"{name}: not validated"
        else:
            yield f"{name}: best at step {validation['step']}, {mean_merit(validation):.4g}"
    first, second = validations
    if first is None or second is None:
        return
    if items_of(recipes[0]) != items_of(recipes[1]) or len(first["merits"]) != len(
        second["merits"]
    ):
        yield "B - A: not compared item by item, for their validation mixtures differ"
        return
    gains = [b - a for a, b in zip(first["merits"], second["merits"], strict=True)]
    gain = describe(gains)
    interval = f", 95 % interval {gain.interval_as('+.3g')}" if gain.count > 1 else ""
    yield (
        f"B - A: {gain.mean:+.3g}{interval}, on the same {gain.count} items; "
        f"B is better on {sum(value > 0 for value in gains)}"
    )


def items_of(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What decides a run's validation mixtures."""
    tables = {table: recipe.get(table) for table in ("data", "mix")}
    return tables | {"seed": recipe.get("train", {}).get("seed", 0)}

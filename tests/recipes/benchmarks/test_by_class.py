"""Tables by family and class: the worst first, every class once."""

from __future__ import annotations

from typing import Any

from qsep.recipes.benchmarks.quality.by_class import tables


def score(mean: float) -> dict[str, Any]:
    return {"si_sdr_i": {"count": 4, "mean": mean, "low": mean - 1, "high": mean + 2}}


def test_families_have_intervals_and_the_worst_class_comes_first() -> None:
    labels = {
        name: score(mean) for name, mean in zip("abcdefg", (3, 1, 7, 5, 2, 6, 4), strict=True)
    }
    summary = {"labels": labels | {"silent": {}}, "families": {"water": score(4.54)}}
    lines = tables(summary).splitlines()
    assert lines[2] == "| water | 4.5 | 3.5 to 6.5 | 4 |"
    # seven classes in three columns, read downwards
    assert lines[6:] == [
        "| b | 1.0 | g | 4.0 | c | 7.0 |",
        "| e | 2.0 | d | 5.0 |  |  |",
        "| a | 3.0 | f | 6.0 |  |  |",
    ]

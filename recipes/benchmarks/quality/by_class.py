"""Tables of an evaluation by family and by class, in Markdown: the tables in docs/benchmarks.md.

qsep evaluate sounds150 --data DIR -o SCORES
python -m qsep.recipes.benchmarks.quality.by_class SCORES
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import run_script

METRIC = "si_sdr_i"
COLUMNS = 3  # classes a row: 150 of them on one screen


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("scores", type=Path, help="output folder of qsep evaluate")
    arguments = parser.parse_args()
    path = arguments.scores / "summary.json"
    try:
        print(tables(json.loads(path.read_text("utf-8"))))
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"qsep: error: {path}: not the summary of an evaluation ({error!r})")


def tables(summary: Mapping[str, Any]) -> str:
    """SI-SDR improvements in dB: families with their intervals, and classes from worst to best.

    summary: content of a summary.json. Raises KeyError if it has no scores by label.
    """
    families = by_score(summary["families"])
    lines = ["| family | SI-SDRi | 95 % interval | mixtures |", "|---|---|---|---|"]
    for name, score in families:
        low, high = score["low"], score["high"]
        lines.append(
            f"| {name} | {score['mean']:.1f} | {low:.1f} to {high:.1f} | {score['count']} |"
        )
    classes = [f"{name} | {score['mean']:.1f}" for name, score in by_score(summary["labels"])]
    num_rows = -(-len(classes) // COLUMNS)
    lines += ["", "| class | SI-SDRi " * COLUMNS + "|", "|---|---" * COLUMNS + "|"]
    for row in range(num_rows):
        cells = classes[row::num_rows]
        lines.append("| " + " | ".join(cells + [" | "] * (COLUMNS - len(cells))) + " |")
    return "\n".join(lines)


def by_score(groups: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Names and scores of the groups that have any, the worst first."""
    scored = [(name, scores[METRIC]) for name, scores in groups.items() if METRIC in scores]
    return sorted(scored, key=lambda item: item[1]["mean"])


if __name__ == "__main__":
    run_script(main)

"""How the commands of `qsep data` report recordings with problems."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def print_problems(
    counts: Mapping[str, int], meanings: Mapping[str, str], report: Path | None
) -> None:
    """Print how many recordings have each problem, in the order of `meanings`, and where they are listed."""
    for name, meaning in meanings.items():
        if number := counts.get(name):
            print(f"{number} {name}: {meaning}")
    if counts and report:
        print(f"listed in: {report}")

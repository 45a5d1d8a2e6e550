"""The page docs/leaderboard.md: published figures of public data sets, and the commands that repeat them.

    python -m qsep.recipes.benchmarks.quality.leaderboard -o docs/leaderboard.md
    python -m qsep.recipes.benchmarks.quality.leaderboard --runs leaderboard

The facts are in leaderboard.toml. Without --runs every row says "not run here"; with it, the cells of the
rows whose command was run are filled from its summary.
"""

from __future__ import annotations

import argparse
import shlex
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qsep.evaluation.report.comparison import Run, read_runs
from qsep.separation.components import from_settings
from qsep.separation.storage.temporary import write_atomically

from ...errors import run_script

FACTS = Path(__file__).with_suffix(".toml")
RUNS = "leaderboard"  # folder of the runs, in commands
NOT_RUN, NO_WEIGHTS, NO_SCORE = "not run here", "no weights here", "no item scored"
HEAD = """\
# Leaderboard

Published figures of public data sets, and the commands that repeat them. No row has been run here, since the
data and the weights of published models must be obtained from their publishers. Figures are in dB, rounded to
0.01; higher is better. A published cell is empty where no citable source gives a figure.
FlowSep generates its output with a new phase, so its low SDR means little.

`python -m qsep.recipes.benchmarks.quality.leaderboard -o docs/leaderboard.md` writes this page from
`leaderboard.toml` beside it. With `--runs leaderboard` instead it prints the page with the cells filled whose
commands were run.
"""


@dataclass(frozen=True)
class Row:
    """A system on a data set. model: its name for -m; system: its name, if no weights of it can be used here.

    options: of its command. published: a figure for each of the data set's, or none; source: where they are.
    """

    model: str = ""
    system: str = ""
    options: tuple[str, ...] = ()
    published: tuple[float, ...] = ()
    source: str = ""


@dataclass(frozen=True)
class DataSet:
    """A data set and its protocol. key: folder of its runs; items, condition: their names in summaries.

    data: folder of the recordings, in commands; about: what has to be in it, and remarks; figures: names
    in summaries. unconfirmed: what of the published figures could not be verified.
    """

    key: str
    title: str
    protocol: str
    items: str
    data: str
    about: str
    figures: tuple[str, ...]
    rows: tuple[Row, ...]
    settings: tuple[str, ...] = ()
    condition: str = "plain"
    unconfirmed: str = ""

    def command(self, row: Row) -> str:
        """The command of a row."""
        words = ["qsep", "evaluate", self.protocol, *self.settings, "--data", self.data]
        words += [
            "-m",
            row.model,
            *row.options,
            "--no-baselines",
            "-o",
            f"{RUNS}/{self.key}/{row.model}",
        ]
        return shlex.join(words)


def read_facts(path: Path = FACTS) -> list[DataSet]:
    """The data sets of a file like leaderboard.toml; ValueError for unknown or missing keys."""
    return [data_set_of(table) for table in tomllib.loads(path.read_text("utf-8"))["data_set"]]


def data_set_of(table: dict[str, Any]) -> DataSet:
    """A data set from its table; ValueError if a row has not a figure for each of the data set's."""
    rows = tuple(from_settings(Row, row) for row in table.get("rows", []))
    data_set: DataSet = from_settings(DataSet, table | {"rows": rows})
    for row in rows:
        if row.published and (len(row.published) != len(data_set.figures) or not row.source):
            raise ValueError(
                f"{data_set.key}, {row.model or row.system}: expected {len(data_set.figures)} published "
                "figures and their source"
            )
    return data_set


def page(data_sets: Sequence[DataSet], runs: Path | None = None) -> str:
    """The page in Markdown. runs: folder of runs DATA_SET/MODEL, to fill the cells from.

    Raises ValueError for a run of another model or of other items.
    """
    parts = [HEAD]
    for data_set in data_sets:
        commands = [data_set.command(row) for row in data_set.rows if row.model]
        doubt = f"\nUnconfirmed: {data_set.unconfirmed.strip()}\n" if data_set.unconfirmed else ""
        parts += [
            f"## {data_set.title}\n\n{data_set.about.strip()}\n{doubt}",
            table_of(data_set, runs),
            "```\n" + "\n".join(commands) + "\n```\n",
        ]
    return "\n".join(parts)


def table_of(data_set: DataSet, runs: Path | None) -> str:
    """The table of a data set: for each figure what is published and what is run."""
    header = ["system"]
    for figure in data_set.figures:
        header += [f"{figure}: published", "here"]
    lines = [line_of([*header, "published in"]), "|" + "---|" * (len(header) + 1)]
    for row in data_set.rows:
        run = run_of(data_set, row, runs)
        cells = [f"`{row.model}`" if row.model else row.system]
        for index, figure in enumerate(data_set.figures):
            cells.append(f"{row.published[index]:.2f}" if row.published else "")
            cells.append(cell_of(data_set, run, figure) if row.model else NO_WEIGHTS)
        lines.append(line_of([*cells, row.source]))
    return "\n".join(lines) + "\n"


def line_of(cells: Sequence[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def run_of(data_set: DataSet, row: Row, runs: Path | None) -> Run | None:
    """The run of a row, or None if there is none; ValueError for one of another model or other items."""
    if runs is None or not row.model:
        return None
    folder = runs / data_set.key / row.model
    if not (folder / "summary.json").is_file():
        return None
    (run,) = read_runs([folder])
    for name, expected, actual in (
        ("the model", row.model, run.name),
        ("items of", data_set.items, run.identity["manifest"][: len(data_set.items)]),
        ("the condition", data_set.condition, run.identity["condition"]),
    ):
        if actual != expected:
            raise ValueError(f"{folder} holds a run of {name} {actual!r}, not {expected!r}")
    return run


def cell_of(data_set: DataSet, run: Run | None, figure: str) -> str:
    """The run's figure, with the number of items unless it is of the whole data set."""
    if run is None:
        return NOT_RUN
    if figure not in run.published:
        return NO_SCORE
    is_whole = run.identity["manifest"] == data_set.items and len(run.rows) == run.num_items
    count = "" if is_whole else f" ({len(run.rows)} items)"
    return f"{run.published[figure]:.2f}{count}"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--runs", type=Path, help="folder of the commands' runs, to fill cells from"
    )
    parser.add_argument("-o", "--out", type=Path, help="file to write; default: print the page")
    arguments = parser.parse_args()
    text = page(read_facts(), arguments.runs)
    if arguments.out is None:
        print(text, end="")
    else:
        write_atomically(arguments.out, lambda path: path.write_text(text, "utf-8"))


if __name__ == "__main__":
    run_script(main)

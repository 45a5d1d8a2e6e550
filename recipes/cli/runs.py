"""`qsep runs`: look at runs of `qsep train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

runs_app = typer.Typer(no_args_is_help=True, help="Look at runs of qsep train.")


@runs_app.command("compare")
def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="Folder of a run.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Folder of another one.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A PNG file for the curves of both.")
    ] = None,
) -> None:
    """Compare two runs: settings and versions that differ, validation scores item by item, curves."""
    from qsep.separation.storage.temporary import write_atomically

    from ..training.output.comparison import compare_runs
    from ..training.output.curves import plot_runs

    if out and (out.suffix != ".png" or out.exists()):
        raise ValueError(f"-o {out}: expected the name of a new PNG file, as curves.png")
    for line in compare_runs(first, second):
        print(line)
    if out:
        logs = {"A": first / "log.jsonl", "B": second / "log.jsonl"}
        write_atomically(out, lambda picture: plot_runs(logs, picture))
        print(f"curves: {out}")

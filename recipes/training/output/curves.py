"""Plots of the logs of runs."""

from collections.abc import Mapping
from pathlib import Path

from .log import read_log

Series = dict[str, tuple[list[int], list[float]]]  # steps and values by quantity


def plot_curves(log: Path, picture: Path) -> None:
    """Write a PNG that plots every quantity of log.jsonl against the step, a panel for each.

    Writes nothing for an empty log.
    """
    plot_runs({"": log}, picture)


def plot_runs(logs: Mapping[str, Path], picture: Path) -> None:
    """As `plot_curves`, of several runs by name in the same panels."""
    runs = {name: series_of(log) for name, log in logs.items()}
    quantities = list(dict.fromkeys(quantity for series in runs.values() for quantity in series))
    if not quantities:
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(quantities), 1, figsize=(7, 2 * len(quantities)), squeeze=False
    )
    for quantity, axis in zip(quantities, axes[:, 0], strict=True):
        for name, series in runs.items():
            if quantity in series:
                axis.plot(*series[quantity], label=name)
        axis.set_ylabel(quantity)
        axis.grid(alpha=0.3)
    axes[-1, 0].set_xlabel("step")
    if len(runs) > 1:
        axes[0, 0].legend()
    figure.tight_layout()
    figure.savefig(picture, dpi=90, format="png")
    pyplot.close(figure)


def series_of(log: Path) -> Series:
    """Every quantity of a log."""
    series: Series = {}
    for entry in read_log(log):
        for name, value in entry.items():
            if name != "step" and isinstance(value, (int, float)):
                steps, values = series.setdefault(name, ([], []))
                steps.append(entry["step"])
                values.append(value)
    return series

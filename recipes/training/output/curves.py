"""Plots of a run's log."""

from pathlib import Path

from .log import read_log


def plot_curves(log: Path, picture: Path) -> None:
    """Write a PNG that plots every quantity of log.jsonl against the step, a panel for each.

    Writes nothing for an empty log.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    series: dict[str, tuple[list[int], list[float]]] = {}
    entries = read_log(log)
    if not entries:
        return
    for entry in entries:
        for name, value in entry.items():
            if name != "step" and isinstance(value, (int, float)):
                steps, values = series.setdefault(name, ([], []))
                steps.append(entry["step"])
                values.append(value)
    num_panels = max(1, len(series))
    figure, axes = pyplot.subplots(num_panels, 1, figsize=(7, 2 * num_panels), squeeze=False)
    for (name, (steps, values)), axis in zip(series.items(), axes[:, 0], strict=False):
        axis.plot(steps, values)
        axis.set_ylabel(name)
        axis.grid(alpha=0.3)
    axes[-1, 0].set_xlabel("step")
    figure.tight_layout()
    figure.savefig(picture, dpi=90, format="png")
    pyplot.close(figure)

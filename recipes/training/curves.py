"""A picture of a run's log."""

import json
from pathlib import Path


def plot_curves(log: Path, picture: Path) -> None:
    """Every quantity of log.jsonl against the step, one panel each, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    series: dict[str, tuple[list[int], list[float]]] = {}
    for line in log.read_text().splitlines():
        entry = json.loads(line)
        for name, value in entry.items():
            if name != "step":
                steps, values = series.setdefault(name, ([], []))
                steps.append(entry["step"])
                values.append(value)
    if not series:
        return
    figure, axes = pyplot.subplots(len(series), 1, figsize=(7, 2 * len(series)), squeeze=False)
    for (name, (steps, values)), axis in zip(series.items(), axes[:, 0], strict=True):
        axis.plot(steps, values)
        axis.set_ylabel(name)
        axis.grid(alpha=0.3)
    axes[-1, 0].set_xlabel("step")
    figure.tight_layout()
    figure.savefig(picture, dpi=90)
    pyplot.close(figure)

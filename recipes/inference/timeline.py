"""Timeline plots: when each sound is active."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from qsep.separation.detection.activity import Activity
from qsep.separation.detection.hierarchy import Group
from qsep.separation.storage.temporary import write_atomically

MAX_ROWS = 60


def draw_timeline(
    activity: Activity,
    groups: list[Group],
    picture: Path,
    commit: Callable[[Path, Path], object] = os.replace,
) -> None:
    """Write a PNG with a row for each group, coloured by probability, and a line under its active spans.

    groups: at least one; the first MAX_ROWS are shown. commit: renames the finished file to its name.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = groups[:MAX_ROWS]
    figure, axis = pyplot.subplots(figsize=(9, 1.2 + 0.3 * len(shown)), layout="constrained")
    end = activity.probabilities.shape[1] * activity.step_seconds
    image = axis.imshow(
        [activity.of(group.members) for group in shown],
        aspect="auto",
        extent=(0, end, len(shown) - 0.5, -0.5),
        vmin=0,
        vmax=1,
        interpolation="nearest",
    )
    for row, group in enumerate(shown):
        for start, stop in activity.spans(group.members):
            axis.plot([start, stop], [row + 0.42] * 2, color="white", linewidth=2)
    axis.set_yticks(range(len(shown)), [group.name for group in shown])
    axis.set_xlim(0, activity.seconds)
    axis.set_xlabel("seconds")
    figure.colorbar(image, label="probability")
    write_atomically(picture, lambda path: figure.savefig(path, format="png", dpi=110), commit)
    pyplot.close(figure)

"""Plots as SVG text for an HTML page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from ..metrics.statistics import Statistics

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 720, 190, 20, 8, 40  # a plot's width and margins, in pixels
ROW, BAR_HEIGHT, NUM_BINS = 16, 180, 24
NUM_COLOURS = 6  # defined by page.html


def interval_plot(groups: Mapping[str, Sequence[Statistics | None]], axis: str) -> str:
    """SVG with a row for each group and run: a dot at the mean, a line for the 95 % interval if there is one.

    groups: for each group the statistics of each run, None if a run has no such items. axis: its label.
    Runs are coloured by the page's classes run0, run1, …
    """
    every = [values for row in groups.values() for values in row if values]
    ends = [end for values in every for end in (values.mean, *(values.bounds or ()))]
    scale = Scale(min(0.0, *ends), max(0.0, *ends))
    parts, y = [], float(TOP)
    for name, row in groups.items():
        height = ROW * max(1, sum(values is not None for values in row))
        parts.append(
            f'<text x="{LEFT - 8}" y="{y + height / 2 + 4:.1f}" text-anchor="end">{escape(name)}</text>'
        )
        for run, values in enumerate(row):
            if values is None:
                continue
            mean = scale(values.mean)
            low, high = map(scale, values.bounds or (values.mean, values.mean))
            middle = y + ROW / 2
            parts.append(
                f'<g class="run{run % NUM_COLOURS}"><title>{escape(name)}: {describe(values)}</title>'
                f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle:.1f}" y2="{middle:.1f}"/>'
                f'<circle cx="{mean:.1f}" cy="{middle:.1f}" r="4"/></g>'
            )
            y += ROW
        y += 6
    return drawing(parts, scale, y, axis)


def histogram(runs: Sequence[Sequence[float]], axis: str) -> str:
    """SVG histogram of the runs' item scores with NUM_BINS bins, an outline for each run."""
    values = np.concatenate([np.asarray(run, dtype=np.float64) for run in runs])
    low, high = float(values.min()), float(values.max())
    edges = np.linspace(low, high if high > low else low + 1, NUM_BINS + 1)
    scale = Scale(float(edges[0]), float(edges[-1]))
    counts = [np.histogram(run, edges)[0] for run in runs]
    most = max(int(count.max()) for count in counts)
    bottom = float(TOP + BAR_HEIGHT)
    parts = [
        f'<text x="{LEFT - 8}" y="{TOP + 10}" text-anchor="end">{most} items</text>',
        f'<text x="{LEFT - 8}" y="{bottom}" text-anchor="end">0</text>',
    ]
    for run, count in enumerate(counts):
        corners = [f"M{scale(edges[0]):.1f} {bottom}"]
        for i, number in enumerate(count):
            y = bottom - BAR_HEIGHT * number / most
            corners.append(f"V{y:.1f}H{scale(edges[i + 1]):.1f}")
        if count.any():
            outline = f"{''.join(corners)}V{bottom}"
            parts.append(f'<path class="run{run % NUM_COLOURS}" d="{outline}"/>')
    return drawing(parts, scale, bottom + 4, axis)


class Scale:
    """Maps values to horizontal pixels; the range is extended to round ticks."""

    def __init__(self, low: float, high: float) -> None:
        if not high - low > 1e-6:  # all values are equal
            low, high = low - 0.5, low + 0.5
        span = high - low
        rough = span / 6
        power = 10.0 ** math.floor(math.log10(rough))
        self.step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
        self.low = self.step * math.floor(low / self.step)
        self.high = self.step * math.ceil(high / self.step)

    def __call__(self, value: float) -> float:
        """The position of a value in pixels."""
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Values of the ticks."""
        number = round((self.high - self.low) / self.step)
        return [round(self.low + i * self.step, 9) + 0.0 for i in range(number + 1)]


def drawing(parts: Sequence[str], scale: Scale, bottom: float, axis: str) -> str:
    """SVG of the parts, which end at `bottom`, with grid, ticks and axis label."""
    grid = []
    for tick in scale.ticks():
        x, name = f"{scale(tick):.1f}", f"{tick:.6g}"
        kind = "zero" if abs(tick) < scale.step / 2 else "grid"
        grid.append(f'<line class="{kind}" x1="{x}" x2="{x}" y1="{TOP}" y2="{bottom:.1f}"/>')
        grid.append(f'<text x="{x}" y="{bottom + 16:.1f}" text-anchor="middle">{name}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    grid.append(
        f'<text x="{middle}" y="{bottom + 34:.1f}" text-anchor="middle">{escape(axis)}</text>'
    )
    return (
        f'<div class="wide"><svg viewBox="0 0 {WIDTH} {bottom + BOTTOM:.0f}" role="img" '
        f'aria-label="{escape(axis)}">'
        f"{''.join(grid)}{''.join(parts)}</svg></div>"
    )


def describe(values: Statistics) -> str:
    """Mean, 95 % interval and number of items, as text."""
    return f"{values.mean_with_interval}, {values.count} items"

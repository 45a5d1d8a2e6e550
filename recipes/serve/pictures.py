"""Spectrograms of recordings of any length, with axes and a span of time, and what a click on one means."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qsep.evaluation.report.spectrogram import WINDOW, mel, mel_rows
from qsep.queries.constraints import Span
from qsep.separation.audio.reader import BLOCK_SAMPLES, AudioReader

WIDTH, HEIGHT = 1280, 360  # pixels
# Margins in pixels, stated so that a position in the picture maps to a time.
LEFT, RIGHT, TOP, BOTTOM = 112, 44, 14, 76
COLUMNS, FRAMES_EACH = 600, 4
MIN_HOP = 512
RANGE_DB = 80.0
FONT_POINTS = 20  # telephones show the picture at a quarter of its size
TICKS_HZ = (200, 500, 1000, 2000, 4000, 8000, 16000, 32000)


@dataclass(frozen=True, eq=False)
class Levels:
    """Mel spectrogram of a recording, averaged over its channels. decibels: (128, n), highest band first."""

    decibels: NDArray[np.float64]
    seconds: float
    sample_rate: int

    @property
    def loudest(self) -> float:
        """The loudest level, dB."""
        return float(self.decibels.max())


def levels_of(path: Path) -> Levels:
    """The mel spectrogram of a file, in constant memory."""
    with AudioReader(path, quiet=True) as reader:
        rate = reader.sample_rate
        hop = max(MIN_HOP, (reader.claimed_samples or 0) // (COLUMNS * FRAMES_EACH))
        window, num_samples, skipped = np.hanning(WINDOW), 0, 0
        waiting = np.zeros(WINDOW // 2)
        rows: list[NDArray[np.float64]] = []
        for block in chain(reader.blocks(BLOCK_SAMPLES), [None]):
            fresh = np.zeros(WINDOW // 2) if block is None else block.mean(axis=0, dtype=float)
            num_samples += 0 if block is None else len(fresh)
            waiting = np.concatenate([waiting, fresh])
            if len(waiting) < skipped + WINDOW:
                continue
            frames = np.lib.stride_tricks.sliding_window_view(waiting, WINDOW)[skipped::hop]
            rows.append(mel_rows(np.abs(np.fft.rfft(frames * window)) ** 2, rate))
            used = skipped + len(frames) * hop
            waiting, skipped = waiting[used:], max(0, used - len(waiting))
    power = np.concatenate(rows, axis=1)
    starts = np.unique(np.linspace(0, power.shape[1], COLUMNS + 1).astype(int)[:-1])
    widths = np.diff([*starts, power.shape[1]])
    mean = np.add.reduceat(power, starts, axis=1) / widths
    return Levels(10 * np.log10(np.maximum(mean, 1e-20)), num_samples / rate, rate)


def draw(
    levels: Levels,
    picture: Path,
    loudest: float | None = None,
    span: Span | None = None,
) -> Path:
    """Write a PNG. loudest: dB of the brightest colour, for pictures that are to be compared. span: what
    lies outside of it is dimmed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=100)
    left_bottom_width = (LEFT / WIDTH, BOTTOM / HEIGHT, (WIDTH - LEFT - RIGHT) / WIDTH)
    axis = figure.add_axes((*left_bottom_width, (HEIGHT - TOP - BOTTOM) / HEIGHT))
    top = mel(levels.sample_rate / 2)
    brightest = levels.loudest if loudest is None else loudest
    axis.imshow(
        levels.decibels,
        aspect="auto",
        cmap="magma",
        extent=(0, levels.seconds, 0, top),
        vmin=brightest - RANGE_DB,
        vmax=brightest,
    )
    if span:
        end = min(span.end, levels.seconds)
        for outside in ((0.0, span.start), (end, levels.seconds)):
            axis.axvspan(*outside, color="black", alpha=0.65, linewidth=0)
        for edge in (span.start, end):
            axis.axvline(edge, color="cyan", linewidth=3)
    axis.set_xlim(0, levels.seconds)
    ticks = [hz for hz in TICKS_HZ if hz < levels.sample_rate / 2][::-2]
    axis.set_yticks(
        [mel(hz) for hz in ticks], [f"{hz / 1000:g} kHz" for hz in ticks], fontsize=FONT_POINTS - 4
    )
    axis.tick_params(axis="x", labelsize=FONT_POINTS)
    axis.set_xlabel("seconds", fontsize=FONT_POINTS)
    figure.savefig(picture, format="png")
    return picture


def seconds_at(x: float, seconds: float) -> float:
    """The time at a picture's column x in pixels, clamped to the recording, which is `seconds` long."""
    share = (x - LEFT) / (WIDTH - LEFT - RIGHT)
    return round(min(max(share, 0.0), 1.0) * seconds, 2)

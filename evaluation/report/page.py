"""A report as one self-contained HTML page: no network, no other file."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsep.queries.files.json_files import json_content
from qsep.separation.audio.reader import AudioReader

from ..metrics.statistics import Statistics
from ..scores import Row
from .audio_examples import ROLES, main_metric, ranked
from .comparison import Run, by_label, by_num_sources, by_setting, by_snr_db, has, main_metrics
from .plots import NUM_COLOURS, histogram, interval_plot
from .spectrogram import level_db, png
from .tables import (
    NAMES,
    Table,
    difference_table,
    group_table,
    grouped,
    published_table,
    score_tables,
)

TEMPLATE = Path(__file__).with_name("page.html")
NUM_PLAYED = 10  # of the best and of the worst items of each run, if their audio was kept


def html_page(runs: Sequence[Run]) -> str:
    """Score tables, paired differences, plots, tables by label, audio examples and failures of the runs."""
    title = "Separation scores: " + ", ".join(dict.fromkeys(run.name for run in runs))
    metrics = main_metrics(runs)
    parts = [legend(runs), *map(html_table, score_tables(runs))]
    if any(run.published for run in runs):
        parts.append(html_table(published_table(runs)))
    if len(runs) > 1:
        differences = difference_table(runs, metrics)
        note = '<p class="note">No two runs are of the same mixtures.</p>'
        parts.append(html_table(differences) if differences.rows else note)
    for metric in metrics:
        parts += plots(runs, metric)
        by_labels = group_table([run for run in runs if has(run, metric)], metric, "label")
        if len(by_labels.rows) > 1:  # a single label would repeat the overall scores
            parts.append(html_table(by_labels))
    parts += [audio_section(run) for run in runs]
    parts += [failures(run) for run in runs if run.failed]
    body = "\n".join(parts)
    return Template(TEMPLATE.read_text("utf-8")).substitute(title=escape(title), body=body)


def legend(runs: Sequence[Run]) -> str:
    """HTML list of the runs: colour, name, items, numbers of failed items and of silent signals."""
    lines = []
    for index, run in enumerate(runs):
        notes = [f"{len(run.rows)} of {run.num_items} items"]
        notes += [f"{len(run.failed)} failed"] if run.failed else []
        notes += [f"{count} {signal}s silent" for signal, count in run.num_silent.items() if count]
        lines.append(
            f'<li><b class="run{index % NUM_COLOURS}">●</b> {escape(run.name)}: '
            f"{escape(run.items_name)}, {', '.join(notes)}</li>"
        )
    return f'<ul class="key">{"".join(lines)}</ul>'


def html_table(table: Table) -> str:
    """A sortable table under a heading: headers are buttons, data-value is what a cell is sorted by."""
    header = ""
    for i, name in enumerate(table.header):
        kind = ' class="number"' if any(row[i].value is not None for row in table.rows) else ""
        header += f'<th scope="col"{kind}><button>{escape(name)}</button></th>'
    rows = []
    for row in table.rows:
        cells = []
        for cell in row:
            value = cell.text if cell.value is None else f"{cell.value:.9g}"
            kind = "" if cell.value is None else ' class="number"'
            cells.append(f'<td data-value="{escape(value)}"{kind}>{escape(cell.text)}</td>')
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<h2>{escape(table.title)}</h2><div class="wide"><table><thead><tr>{header}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def plots(runs: Sequence[Run], metric: str) -> list[str]:
    """Plots by label, input SNR, number of sources and setting, and a histogram of the items.

    A plot that would show a single group or a single value is left out.
    """
    keys: dict[str, Callable[[Row], Any]] = {
        "label": by_label,
        "SNR of the target in the mixture [dB]": by_snr_db,
        "number of sources": by_num_sources,
        "setting": by_setting,
    }
    parts = []
    for key_name, key in keys.items():
        statistics = {str(name): by_run for name, by_run in grouped(runs, metric, key).items()}
        if len(statistics) > 1 and spread(statistics):
            plot = interval_plot(statistics, NAMES[metric])
            parts.append(f"<h2>{NAMES[metric]} by {key_name}</h2>{plot}")
    values = [[row[metric] for row in run.rows if row[metric] is not None] for run in runs]
    if len({value for scores in values for value in scores}) > 1:
        parts.append(f"<h2>{NAMES[metric]} of the items</h2>{histogram(values, NAMES[metric])}")
    return parts


def spread(groups: Mapping[str, Sequence[Statistics | None]]) -> bool:
    """Whether the intervals of the groups differ at all."""
    intervals = {(s.low, s.mean, s.high) for by_run in groups.values() for s in by_run if s}
    return len(intervals) > 1


def audio_section(run: Run) -> str:
    """The best and worst items whose audio the run kept: mixture, target and estimate to play."""
    index = run.folder / "audio" / "audio.json"
    heading = f"<h2>{escape(run.name)}, {escape(run.items_name)}: audio examples</h2>"
    if not index.is_file():
        return f'{heading}<p class="note">The run kept no audio; evaluate with --keep-audio 10.</p>'
    stems = json_content(index)
    order = [row for row in ranked(run.rows) if row["id"] in stems]
    best = order[: min(NUM_PLAYED, (len(order) + 1) // 2)]
    worst = order[len(best) :][-NUM_PLAYED:][::-1]
    metric, _ = main_metric(run.rows)
    parts = [heading]
    for title, rows in (("Best", best), ("Worst", worst)):
        cards = [item_card(run, row, stems[row["id"]], metric) for row in rows]
        parts.append(f"<section><h3>{title} items</h3>{''.join(cards)}</section>")
    return "".join(parts)


def read_first_channel(path: Path) -> tuple[NDArray[np.floating], int]:
    """The first channel (t,) of an audio file, and its rate in Hz."""
    with AudioReader(path) as reader:
        return reader.read()[0], reader.sample_rate


def item_card(run: Run, row: Row, stem: str, metric: str) -> str:
    """Spectrogram and player of each of an item's signals. stem: of its files in the folder audio."""
    paths = [run.folder / "audio" / f"{stem}.{role}.flac" for role in ROLES]
    waveforms = [read_first_channel(path) for path in paths]
    levels = [level_db(waveform, rate) for waveform, rate in waveforms]
    loudest = float(levels[0].max())  # the mixture's, for all three
    figures = []
    for role, path, level, (waveform, rate) in zip(ROLES, paths, levels, waveforms, strict=True):
        picture, sound = as_url("image/png", png(level, loudest)), path.read_bytes()
        caption = f"{role}, {len(waveform) / rate:.1f} s, up to {rate / 2000:g} kHz"
        figures.append(
            f'<figure><img alt="spectrogram of the {role}" src="{picture}">'
            f'<audio controls preload="none" src="{as_url("audio/flac", sound)}"></audio>'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    query = f"“{escape(row['query'])}” ({escape(row['label'])})"
    return (
        f'<div class="item"><p><b>{escape(row["id"])}</b>: {query}, '
        f'{NAMES[metric].split(" [")[0]} {row[metric]:.2f} dB</p><div class="signals">'
        f"{''.join(figures)}</div></div>"
    )


def failures(run: Run) -> str:
    """The items that failed, each with its error."""
    lines = [f"<li>{escape(name)}: {escape(error)}</li>" for name, error in run.failed.items()]
    return f"<h2>{escape(run.name)}: failed items</h2><ul>{''.join(lines)}</ul>"


def as_url(kind: str, content: bytes) -> str:
    """A data URL. kind: MIME type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"

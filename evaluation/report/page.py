"""A report as one HTML page that needs nothing else: no network, no other file."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsep.separation.audio.reader import AudioReader

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
    score_table,
)

TEMPLATE = Path(__file__).with_name("page.html")
NUM_LISTENED = 10  # best and worst items of each run, of those whose audio was kept


def html_page(runs: Sequence[Run]) -> str:
    title = "Separation scores: " + ", ".join(dict.fromkeys(run.name for run in runs))
    metrics = main_metrics(runs)
    parts = [key_to(runs), html_table(score_table(runs))]
    if any(run.published for run in runs):
        parts.append(html_table(published_table(runs)))
    if len(runs) > 1:
        differences = difference_table(runs, metrics)
        note = '<p class="note">No two runs are of the same mixtures.</p>'
        parts.append(html_table(differences) if differences.rows else note)
    for metric in metrics:
        parts += plots(runs, metric)
        own = [run for run in runs if has(run, metric)]
        parts.append(html_table(group_table(own, metric, "label")))
    parts += [listening(run) for run in runs]
    parts += [failures(run) for run in runs if run.failed]
    body = "\n".join(parts)
    return Template(TEMPLATE.read_text("utf-8")).substitute(title=escape(title), body=body)


def key_to(runs: Sequence[Run]) -> str:
    """Each run's colour, items, failures and silences."""
    lines = []
    for index, run in enumerate(runs):
        notes = [f"{len(run.rows)} of {run.num_items} items"]
        notes += [f"{len(run.failed)} failed"] if run.failed else []
        notes += [f"{count} {what}s silent" for what, count in run.num_silent.items() if count]
        lines.append(
            f'<li><b class="run{index % NUM_COLOURS}">●</b> {escape(run.name)}: '
            f"{escape(run.items_name)}, {', '.join(notes)}</li>"
        )
    return f'<ul class="key">{"".join(lines)}</ul>'


def html_table(table: Table) -> str:
    """Its headers are buttons; a cell's data-value is what it is sorted by."""
    header = "".join(
        f'<th scope="col"><button>{escape(name)}</button></th>' for name in table.header
    )
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
    """By label, input SNR, number of sources, setting; and the items' distribution."""
    keys: dict[str, Callable[[Row], Any]] = {
        "label": by_label,
        "SNR of the target in the mixture [dB]": by_snr_db,
        "number of sources": by_num_sources,
        "setting": by_setting,
    }
    parts = []
    for what, key in keys.items():
        found = {str(name): own for name, own in grouped(runs, metric, key).items()}
        if found:
            parts.append(f"<h2>{NAMES[metric]} by {what}</h2>{interval_plot(found, NAMES[metric])}")
    values = [[row[metric] for row in run.rows if row[metric] is not None] for run in runs]
    parts.append(f"<h2>{NAMES[metric]} of the items</h2>{histogram(values, NAMES[metric])}")
    return parts


def listening(run: Run) -> str:
    """The best and worst items whose audio the run kept, each with what was heard."""
    index = run.folder / "audio" / "audio.json"
    heading = f"<h2>{escape(run.name)}, {escape(run.items_name)}: to listen to</h2>"
    if not index.is_file():
        return f'{heading}<p class="note">The run kept no audio; evaluate with --keep-audio 10.</p>'
    stems = json.loads(index.read_text("utf-8"))
    order = [row for row in ranked(run.rows) if row["id"] in stems]
    best = order[: min(NUM_LISTENED, (len(order) + 1) // 2)]
    worst = order[len(best) :][-NUM_LISTENED:][::-1]
    metric, _ = main_metric(run.rows)
    parts = [heading]
    for title, rows in (("Best", best), ("Worst", worst)):
        cards = [item_card(run, row, stems[row["id"]], metric) for row in rows]
        parts.append(f"<section><h3>{title} items</h3>{''.join(cards)}</section>")
    return "".join(parts)


def read_first_channel(path: Path) -> tuple[NDArray[np.floating], int]:
    """(t,), and its rate in Hz."""
    with AudioReader(path) as reader:
        return reader.read()[0], reader.sample_rate


def item_card(run: Run, row: Row, stem: str, metric: str) -> str:
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
    asked = f"“{escape(row['query'])}” ({escape(row['label'])})"
    return (
        f'<div class="item"><p><b>{escape(row["id"])}</b>: {asked}, '
        f'{NAMES[metric].split(" [")[0]} {row[metric]:.2f} dB</p><div class="heard">'
        f"{''.join(figures)}</div></div>"
    )


def failures(run: Run) -> str:
    lines = [f"<li>{escape(name)}: {escape(error)}</li>" for name, error in run.failed.items()]
    return f"<h2>{escape(run.name)}: failed items</h2><ul>{''.join(lines)}</ul>"


def as_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"

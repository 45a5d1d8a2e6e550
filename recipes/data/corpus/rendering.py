"""The mixtures of a manifest or of a recipe as audio files, for other programs and for listening."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qsep.evaluation.interface import ItemSet
from qsep.queries.files.threads import in_order
from qsep.separation.audio.sample_format import Waveform
from qsep.separation.audio.writer import AudioWriter
from qsep.separation.storage.results import Results
from qsep.separation.storage.temporary import visit

if TYPE_CHECKING:
    from ..mixtures.interface import Mixtures

COMMAND = "data mix"
PARTS = ("mixture", "target", "rest")


def render_folders(
    items: ItemSet,
    out: Path,
    num_jobs: int,
    progress: Callable[[float, float], object] | None = None,
    max_items: int | None = None,
) -> Sequence[str]:
    """Write out/ID/{mixture,target,rest}.wav in float32 at the items' rate, and query.txt; return their ids.

    num_jobs: items rendered in parallel. progress: called with (items done, items in all). max_items: stop
    after so many.
    Raises ValueError for an id that cannot be a folder's name.
    """
    results = Results(out, COMMAND)
    ids = items.ids[:max_items]
    if unsafe := [name for name in ids if name in (".", "..") or "/" in name]:
        raise ValueError(f"id {unsafe[0]!r} cannot be a folder's name")

    def render(index: int) -> None:
        item = items.render(index)
        for part in PARTS:
            write_wav(results, f"{item.id}/{part}.wav", getattr(item, part), item.sample_rate)
        results.write_text(f"{item.id}/query.txt", item.query)

    with closing(in_order(render, range(len(ids)), num_jobs)) as done:
        for num_done, _ in enumerate(done, start=1):
            if progress:
                progress(num_done, len(ids))
    return ids


def render_items(
    mixtures: Mixtures,
    out: Path,
    number: int,
    progress: Callable[[float, float], object] | None = None,
) -> list[str]:
    """Write the first items as out/ID/mixture.wav, 0.wav, 1.wav, … and queries.txt; return the ids.

    A file has a channel for each microphone. queries.txt has a line for each source: its number, and its
    query or "no query". Absent sounds have no file.
    """
    results = Results(out, COMMAND)
    ids = []
    for draw in range(number):
        batch = mixtures.collate([mixtures[draw]])
        (name,) = batch.ids
        rate = batch.sample_rate
        write_wav(results, f"{name}/mixture.wav", batch.mixture[0].numpy(), rate)
        lines = []
        for index, query in enumerate(batch.queries[0]):
            source = batch.sources[0, index]
            if source.any():
                write_wav(results, f"{name}/{index}.wav", source.numpy(), rate)
            elif query is None:
                continue
            words = "no query" if query is None else f"{query.kind}: {query.name}"
            lines.append(f"{index}\t{words}" + ("" if source.any() else "\tabsent"))
        results.write_text(f"{name}/queries.txt", "\n".join(lines) + "\n")
        ids.append(name)
        if progress:
            progress(draw + 1, number)
    return ids


def write_wav(results: Results, name: str, waveform: Waveform, sample_rate: int) -> None:
    """Write the waveform, (t,) or (c, t), as float32 WAV; the same waveform gives the same bytes."""
    results.claim(name)
    path = results.folder / name
    visit(path.parent)
    channels = np.atleast_2d(waveform)
    with AudioWriter(path, sample_rate, len(channels), "FLOAT", results.commit) as file:
        file.write(channels)

"""The mixtures of a manifest as audio files, for other programs and for listening."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import soundfile

from qsep.evaluation.interface import ItemSet
from qsep.queries.files.threads import in_order
from qsep.separation.storage.results import Results

COMMAND = "data mix"
PARTS = ("mixture", "target", "rest")


def render_folders(
    items: ItemSet,
    out: Path,
    num_jobs: int,
    progress: Callable[[float, float], object] | None = None,
) -> Sequence[str]:
    """Write out/ID/{mixture,target,rest}.wav in float32 at the items' rate, and query.txt; return all ids.

    num_jobs: items rendered in parallel. progress: called with (items done, items in all).
    Raises ValueError for an id that cannot be a folder's name.
    """
    results = Results(out, COMMAND)
    if unsafe := [name for name in items.ids if name in (".", "..") or "/" in name]:
        raise ValueError(f"id {unsafe[0]!r} cannot be a folder's name")

    def render(index: int) -> None:
        item = items.render(index)
        for part in PARTS:
            waveform = getattr(item, part)
            results.write(f"{item.id}/{part}.wav", writer(waveform, item.sample_rate))
        results.write_text(f"{item.id}/query.txt", item.query)

    with closing(in_order(render, range(len(items.ids)), num_jobs)) as done:
        for num_done, _ in enumerate(done, start=1):
            if progress:
                progress(num_done, len(items.ids))
    return items.ids


def writer(waveform: Any, sample_rate: int) -> Callable[[Path], None]:
    """A function that writes the waveform, (t,) or (t, c), as float32 WAV to a path."""
    return lambda path: soundfile.write(path, waveform, sample_rate, "FLOAT", format="WAV")

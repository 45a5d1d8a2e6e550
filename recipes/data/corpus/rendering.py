"""The mixtures of a manifest as audio files, for other programs and for listening."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from qsep.evaluation.interface import ItemSet
from qsep.queries.files.threads import in_order
from qsep.separation.audio.sample_format import Waveform
from qsep.separation.audio.writer import AudioWriter
from qsep.separation.storage.results import Results
from qsep.separation.storage.temporary import visit

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
            write_wav(results, f"{item.id}/{part}.wav", getattr(item, part), item.sample_rate)
        results.write_text(f"{item.id}/query.txt", item.query)

    with closing(in_order(render, range(len(items.ids)), num_jobs)) as done:
        for num_done, _ in enumerate(done, start=1):
            if progress:
                progress(num_done, len(items.ids))
    return items.ids


def write_wav(results: Results, name: str, waveform: Waveform, sample_rate: int) -> None:
    """Write the waveform, (t,), as float32 WAV; the same waveform gives the same bytes."""
    results.claim(name)
    path = results.folder / name
    visit(path.parent)
    with AudioWriter(path, sample_rate, 1, "FLOAT", results.commit) as file:
        file.write(waveform[None])

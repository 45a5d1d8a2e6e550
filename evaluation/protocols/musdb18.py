"""MUSDB18 as in SiSEC 2018 (Stöter et al. 2018), downmixed to mono: BSSEval 4 on frames of one second.

The data folder is MUSDB18-HQ's: test/TRACK/{mixture,vocals,drums,bass,other}.wav. An item is one source of
a track; its scores are medians over frames. Figures: medians over tracks for each source, and the mean of
SDR over sources, as USS (Kong et al. 2023) reports it. SiSEC scores both channels together; here they are
averaged first, as USS does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsep.separation.audio.reader import read_mono

from ..interface import Item, ItemQuery, Publication
from ..items.published import PublishedItems, choose, present
from ..items.recordings import check_files, combined_hash
from ..metrics.bss_scores import BACKENDS, Backend, as_score

CONDITIONS = ("plain",)
SAMPLE_RATE = 44100
NUM_TRACKS = 50
SOURCES = ("vocals", "drums", "bass", "other")
NAMES = ("frames_sdr", "frames_isr", "frames_sir", "frames_sar")


def load(
    data: Path, manifest: Path | None = None, condition: str = "plain", backend: str = "qsep"
) -> PublishedItems:
    """Items of the tracks, the folders in test. backend: qsep or museval; manifest: must be None.

    Raises ValueError for a manifest or an unknown backend, FileNotFoundError for missing files.
    """
    if manifest is not None:
        raise ValueError("musdb18 has no list of items; its tracks are the folders in test")
    choose("backend", backend, tuple(BACKENDS))
    tracks = sorted(path.name for path in (data / "test").glob("*") if path.is_dir())
    if not tracks:
        raise FileNotFoundError(f"{data / 'test'}: no tracks in it")
    files = [f"test/{track}/{name}.wav" for track in tracks for name in ("mixture", *SOURCES)]
    check_files(files, data)
    pairs = [(track, source) for track in tracks for source in SOURCES]
    complete = len(tracks) == NUM_TRACKS
    return PublishedItems(
        name="MUSDB18" + ("" if complete else f", {len(tracks)} of {NUM_TRACKS} tracks"),
        manifest_sha256=combined_hash(tracks),
        condition=condition,
        ids=tuple(f"{track}/{source}" for track, source in pairs),
        item_queries=tuple(item_query(source) for _, source in pairs),
        make=lambda index: render(*pairs[index], data),
        publication=Publication(partial(measure, backend=BACKENDS[backend]), average),
        settings=(backend,),
    )


def item_query(source: str) -> ItemQuery:
    """Query and labels of a source; the accompaniment's query is "other", its name in MUSDB18."""
    return ItemQuery(source, source, tuple(name for name in SOURCES if name != source))


def render(track: str, source: str, data: Path) -> Item:
    """The item of a track's source, mono at SAMPLE_RATE; ValueError if its files differ in length."""
    folder = data / "test" / track
    sources = {name: read_mono(folder / f"{name}.wav", SAMPLE_RATE) for name in SOURCES}
    mixture = read_mono(folder / "mixture.wav", SAMPLE_RATE)
    if any(waveform.shape != mixture.shape for waveform in sources.values()):
        raise ValueError(f"{folder}: the sources and the mixture differ in length")
    target = sources.pop(source)
    query, label, others = item_query(source)
    return Item(
        f"{track}/{source}",
        query,
        label,
        mixture,
        target,
        mixture - target,
        SAMPLE_RATE,
        others=others,
        rest_sources=tuple(sources.values()),
    )


def measure(
    item: Item, estimate: NDArray[np.float64], backend: Backend
) -> Mapping[str, float | None]:
    """Medians in dB over the frames in which neither a source nor the estimate (t,) is silent.

    A source's scores depend on its own estimate and on all references, so references stand in for the other
    sources' estimates.
    """
    references = np.array([item.target, *item.rest_sources], dtype=np.float64)
    estimates = np.concatenate([estimate[None], references[1:]])
    if not (references.any(axis=1).all() and estimate.any()):
        return {}
    ratios = backend(references[..., None], estimates[..., None], SAMPLE_RATE, SAMPLE_RATE)
    return {
        name: as_score(float(np.nanmedian(ratio[0]))) if not np.isnan(ratio[0]).all() else None
        for name, ratio in zip(NAMES, ratios, strict=True)
    }


def average(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Medians over tracks of each source's scores, and the mean of SDR over sources."""
    figures: dict[str, float] = {}
    for source in SOURCES:
        source_rows = [row for row in rows if row["label"] == source]
        for column in NAMES:
            if values := present(source_rows, column):
                title = column.removeprefix("frames_").upper()
                figures[f"{title} of {source}"] = float(np.median(values))
    sdrs = [figures[f"SDR of {source}"] for source in SOURCES if f"SDR of {source}" in figures]
    return figures | ({"SDR, mean of sources": float(np.mean(sdrs))} if sdrs else {})

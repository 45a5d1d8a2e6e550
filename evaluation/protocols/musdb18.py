"""MUSDB18 as SiSEC 2018 scores it (Stöter et al. 2018), of the mono sum: frames of a second.

The data folder is MUSDB18-HQ's: test/TRACK/{mixture,vocals,drums,bass,other}.wav. An item is one source
of a track. BSSEval 4 with frames of a second, each score the median of a track's frames, then the median
over tracks; for USS (Kong et al. 2023) the mean over sources of that of SDR. SiSEC scores both channels
together; here they are averaged first, as USS does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsep.separation.audio.reader import read_mono

from ..interface import Item, ItemQuery
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
    """backend: qsep or museval. There are no lists: the folders in test are the tracks."""
    if manifest is not None:
        raise ValueError("musdb18 has no list of items: the folders in test are its tracks")
    choose("backend", backend, tuple(BACKENDS))
    tracks = sorted(path.name for path in (data / "test").glob("*") if path.is_dir())
    if not tracks:
        raise FileNotFoundError(f"{data / 'test'}: no tracks in it")
    files = [f"test/{track}/{name}.wav" for track in tracks for name in ("mixture", *SOURCES)]
    check_files(files, data)
    places = [(track, source) for track in tracks for source in SOURCES]
    complete = len(tracks) == NUM_TRACKS
    return PublishedItems(
        name="MUSDB18" + ("" if complete else f", {len(tracks)} of {NUM_TRACKS} tracks"),
        manifest_sha256=combined_hash(tracks),
        condition=condition,
        ids=tuple(f"{track}/{source}" for track, source in places),
        item_queries=tuple(item_query(source) for _, source in places),
        make=lambda index: render(*places[index], data),
        measure=lambda item, estimate: measure(item, estimate, BACKENDS[backend]),
        average=average,
        settings=(backend,),
    )


def item_query(source: str) -> ItemQuery:
    """The accompaniment has no name of its own: "other" is what models are asked for."""
    return ItemQuery(source, source, tuple(name for name in SOURCES if name != source))


def render(track: str, source: str, data: Path) -> Item:
    folder = data / "test" / track
    sources = {name: read_mono(folder / f"{name}.wav", SAMPLE_RATE) for name in SOURCES}
    mixture = read_mono(folder / "mixture.wav", SAMPLE_RATE)
    if any(waveform.shape != mixture.shape for waveform in sources.values()):
        raise ValueError(f"{folder}: its sources and its mixture differ in length")
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
    """Medians over the frames in which no source and not the estimate is silent.

    Scores of a source depend on its own estimate and on all references, so that references may stand
    for the other estimates.
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
    """Median over tracks of each score of each source, and the mean of SDR over sources."""
    figures: dict[str, float] = {}
    for source in SOURCES:
        own = [row for row in rows if row["label"] == source]
        for column in NAMES:
            if values := present(own, column):
                title = column.removeprefix("frames_").upper()
                figures[f"{title} of {source}"] = float(np.median(values))
    sdrs = [figures[f"SDR of {source}"] for source in SOURCES if f"SDR of {source}" in figures]
    return figures | ({"SDR, mean of sources": float(np.mean(sdrs))} if sdrs else {})

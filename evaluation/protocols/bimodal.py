"""Evaluation of bi-modal weakly supervised separation (Mahmud et al. 2024) on MUSIC, 2 to 4 sources.

The data folder is the authors' `data/music`: annotations/test.csv (sound, frames, seconds), lists
annotations/test_sep_N.csv of N sounds a row, and audio/CLASS/NAME. 8.2 s around the centre, mono at 16 kHz,
each source divided by N; the query is "The sound of CLASS". SDR, SIR and SAR of BSSEval 3 for sources,
without permutation, averaged over the sources of a mixture, then over mixtures; a mixture with a silent
signal is left out. (The authors' code scores as many sources as the model was trained on, so its lists of 3
and 4 sources are not scored as the paper describes. Its scores are computed in float32 by
torch_mir_eval, up to 0.24 dB a source away from mir_eval; those here equal mir_eval's, so that differences of
this size from the published numbers mean nothing.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsep.separation.audio.reader import read_mono

from ..interface import Item, ItemQuery, Publication
from ..items.published import PublishedItems, choose, item_of_source
from ..items.recordings import check_files, combined_hash, cut_around, read_list
from ..metrics.bss_eval import bss_eval_sources
from ..metrics.bss_scores import as_score

CONDITIONS = ("plain",)
SAMPLE_RATE = 16000
NUM_SAMPLES = 131070
SILENT = 1e-5  # a mixture with a signal whose magnitudes sum to no more than this is left out
FIGURES = {
    "SDR": "bss3_sdr",
    "SIR": "bss3_sir",
    "SAR": "bss3_sar",
    "SDR of the mixture": "mixture.bss3_sdr",
}


class Clip(NamedTuple):
    """A recording. file: relative to the data folder; seconds: its length."""

    file: str
    seconds: int
    label: str


def load(
    data: Path, manifest: Path | None = None, condition: str = "plain", num_sources: str = "2"
) -> PublishedItems:
    """Items of the list for num_sources 2, 3 or 4, one for each source. manifest: another list in its format.

    Raises ValueError for a bad list or another number, FileNotFoundError for missing files.
    """
    width = int(choose("num_sources", num_sources, ("2", "3", "4")))
    path = manifest or data / "annotations" / f"test_sep_{width}.csv"
    clips, hash1 = read_clips(data / "annotations" / "test.csv")
    rows, hash2 = read_list(path)
    mixtures = [[clip_named(name.replace(" ", ""), clips, path) for name in row] for row in rows]
    if any(len(mixture) != width for mixture in mixtures):
        raise ValueError(f"{path}: expected {width} sounds in every row")
    check_files((clip.file for mixture in mixtures for clip in mixture), data)
    pairs = [(row, source) for row in range(len(mixtures)) for source in range(width)]
    ids = [f"{row:04d}.{source}" for row, source in pairs]

    def make(index: int) -> Item:
        row, source = pairs[index]
        return render(ids[index], mixtures[row], source, data)

    return PublishedItems(
        name=f"BiModal MUSIC, {width} sources",
        manifest_sha256=combined_hash([hash1, hash2]),
        condition=condition,
        ids=tuple(ids),
        item_queries=tuple(item_query(mixtures[row], source) for row, source in pairs),
        make=make,
        publication=Publication(measure, average),
    )


def read_clips(path: Path) -> tuple[dict[str, Clip], str]:
    """The clips of test.csv by the names that lists use, /CLASS/NAME, and the file's SHA-256.

    Raises ValueError for rows other than name, frames, seconds.
    """
    rows, sha256 = read_list(path)
    clips = {}
    for row in rows:
        try:
            name, _, seconds = row
            clips[name] = Clip(f"audio{name}", int(seconds), name.split("/")[1])
        except (ValueError, IndexError):
            raise ValueError(
                f"{path}: expected rows of /CLASS/NAME, frames, seconds; got {','.join(row)}"
            ) from None
    return clips, sha256


def clip_named(name: str, clips: Mapping[str, Clip], path: Path) -> Clip:
    """The clip of this name; ValueError if there is none. path: the list, for the message."""
    if name not in clips:
        raise ValueError(f"{path}: {name} is not listed in test.csv")
    return clips[name]


def item_query(mixture: Sequence[Clip], source: int) -> ItemQuery:
    """Query and labels for one source of a mixture."""
    label = mixture[source].label
    others = tuple(clip.label for clip in mixture if clip is not mixture[source])
    return ItemQuery(f"The sound of {label.replace('_', ' ')}", label, others)


def render(item_id: str, mixture: Sequence[Clip], source: int, data: Path) -> Item:
    """The item of one source of a mixture, at SAMPLE_RATE."""
    sources = [cut(data / clip.file, clip.seconds) / np.float32(len(mixture)) for clip in mixture]
    return item_of_source(item_id, item_query(mixture, source), sources, source, SAMPLE_RATE)


def cut(path: Path, seconds: int) -> NDArray[np.float32]:
    """(NUM_SAMPLES,) around time seconds // 2 + 0.5, clipped to [-1, 1], as the authors cut."""
    centre = int((seconds // 2 + 0.5) * SAMPLE_RATE)
    return cut_around(read_mono(path, SAMPLE_RATE), centre, NUM_SAMPLES, path).clip(-1, 1)


def measure(item: Item, estimate: NDArray[np.float64]) -> Mapping[str, float | None]:
    """BSSEval 3 in dB of the estimate (t,) and of the mixture; no scores if a signal is silent.

    A source's scores depend on its own estimate and on all references, so references stand in for the other
    sources' estimates.
    """
    references = np.array([item.target, *item.rest_sources], dtype=np.float64)
    mixture = item.mixture.astype(np.float64)
    if any(np.abs(signal).sum() <= SILENT for signal in (*references, estimate)):
        return {}
    scores = {}
    for prefix, signal in (("", estimate), ("mixture.", mixture)):
        estimates = np.concatenate([signal[None], references[1:]])
        ratios = bss_eval_sources(references[..., None], estimates[..., None])
        names = ratios._fields if not prefix else ("sdr",)
        for name in names:
            scores[f"{prefix}bss3_{name}"] = as_score(getattr(ratios, name)[0])
    return scores


def average(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Means over the mixtures whose sources all have scores, of the mean over each mixture's sources."""
    mixtures = defaultdict(list)
    for row in rows:
        mixtures[row["id"].rpartition(".")[0]].append(row)
    figures = {}
    for figure, column in FIGURES.items():
        means = [
            np.mean([source[column] for source in sources])
            for sources in mixtures.values()
            if len(sources) == sources[0]["num_sources"]
            and all(source[column] is not None for source in sources)
        ]
        if means:
            figures[figure] = float(np.mean(means))
    return figures

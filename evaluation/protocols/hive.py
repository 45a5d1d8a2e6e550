"""Hive's test set (Li et al. 2026, ICML, arXiv 2601.22599): mixtures of two to five sounds that can occur
together, 10 s long at 44.1 kHz.

Published are parameters, not sound: test/data.parquet of the hub's data set AlayaLab/Hive, at first
ShandaAI/Hive, or the JSON lists of the authors' earlier release. The recordings are those of twelve public
sets, in folders of the data folder that are called as the paths in the list begin, as AudioSet or ESC50.
Each source is cut out, made mono, resampled and weighted as by the authors' mix_from_metadata.py; the sum is
multiplied by the mixture's normalisation factor. That script leaves the factor out of the sources that it
writes; here they have it too, so that they sum to the mixture. An item is one source; its query is the label.

The publication's SDR and SI-SDR are ratios, not improvements, of estimates brought to the list's rate. The
authors have published no evaluation code, so which SDR it is and whether means are removed could not be
confirmed; here they are the plain SDR and the usual SI-SDR, means over items.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soxr
from numpy.typing import NDArray

from qsep.queries.files.json_files import json_content
from qsep.separation.audio.reader import length_and_rate, read_from

from ..interface import Item, ItemQuery, Publication
from ..items.published import PublishedItems, choose, item_of_source, mean_of
from ..items.recordings import check_files

CONDITIONS = ("plain",)
LIST = "test/data.parquet"
NUM_MIXTURES = 100_000
NUM_SOURCES = ("2", "3", "4", "5")
UNCONFIRMED = (
    "that the publication's SDR is the plain one, as here, and not BSSEval's; its authors released no "
    "evaluation code"
)
MISSING_SAMPLES = 10  # allowed to be missing at the end of a recording
FIGURES = {"SDR": "sdr", "SI-SDR": "si_sdr", "SDRi": "sdr_i", "SI-SDRi": "si_sdr_i"}
Waveform = NDArray[np.float32]


class Source(NamedTuple):
    """A sound of a mixture. chunk: seconds of the recording that are read; crop: seconds of the chunk that
    are used; weight: its gain."""

    file: str
    label: str
    chunk: tuple[float, float]
    crop: tuple[float, float]
    weight: float


class Mixture(NamedTuple):
    """An entry of the list. factor: gain of the sum of sources."""

    name: str
    sample_rate: int
    seconds: float
    factor: float
    sources: tuple[Source, ...]


def load(
    data: Path,
    manifest: Path | None = None,
    condition: str = "plain",
    num_sources: str = "all",
    mixtures: str = "all",
) -> PublishedItems:
    """Items of the list. manifest: the list's file (.parquet, which needs pyarrow, or .json).

    num_sources: all, or only mixtures of 2, 3, 4 or 5. mixtures: all, or so many of each number of sources,
    the first in the list. Raises ValueError for a bad setting or list, FileNotFoundError for missing files.
    """
    choose("num_sources", num_sources, ("all", *NUM_SOURCES))
    if mixtures != "all" and not (mixtures.isdigit() and int(mixtures)):
        raise ValueError(f"mixtures={mixtures!r}; expected all, or a whole number of 1 or more")
    path = manifest or data / LIST
    if not path.is_file():
        remedy = f"hf download AlayaLab/Hive {LIST} --repo-type dataset --local-dir {data}"
        raise FileNotFoundError(f"{path}: no such list; the published one comes by {remedy}")
    limit = None if mixtures == "all" else int(mixtures)
    chosen = choose_mixtures(read_mixtures(path), num_sources, limit)
    if not chosen:
        raise ValueError(f"{path}: no mixtures with num_sources={num_sources}")
    check_files((source.file for mixture in chosen for source in mixture.sources), data)
    places = [(mixture, i) for mixture in chosen for i in range(len(mixture.sources))]
    named = zip(names_of(chosen), chosen, strict=True)
    ids = tuple(f"{name}/{i + 1}" for name, mixture in named for i in range(len(mixture.sources)))
    complete = len(chosen) == NUM_MIXTURES
    return PublishedItems(
        name="Hive" + ("" if complete else f", {len(chosen)} of {NUM_MIXTURES} mixtures"),
        manifest_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        condition=condition,
        ids=ids,
        item_queries=tuple(item_query(mixture, i) for mixture, i in places),
        make=lambda index: render(ids[index], *places[index], data),
        publication=Publication(average=average, unconfirmed=UNCONFIRMED),
    )


def choose_mixtures(
    mixtures: Iterator[Mixture], num_sources: str, limit: int | None
) -> list[Mixture]:
    """The mixtures of num_sources sources, or all; of each number at most `limit`, the first ones."""
    chosen: list[Mixture] = []
    counts: dict[int, int] = {}
    for mixture in mixtures:
        number = len(mixture.sources)
        counts[number] = counts.get(number, 0) + 1
        if num_sources in ("all", str(number)) and (limit is None or counts[number] <= limit):
            chosen.append(mixture)
    return chosen


def names_of(mixtures: Sequence[Mixture]) -> list[str]:
    """A name for each mixture, all different: its number of sources and mix_id, as 2/sample_00000003.

    A mix_id need not be unique in the list: names of all but its first mixture end in a number, as ….2.
    """
    counts: dict[str, int] = {}
    names = []
    for mixture in mixtures:
        name = f"{len(mixture.sources)}/{mixture.name}"
        counts[name] = counts.get(name, 0) + 1
        names.append(name if counts[name] == 1 else f"{name}.{counts[name]}")
    return names


def read_mixtures(path: Path) -> Iterator[Mixture]:
    """The entries of a list; ValueError for another format, or without pyarrow."""
    try:
        for entry in entries_of(path):
            yield mixture_of(entry)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{path} is not a list of Hive's mixtures: {reason}") from None


def entries_of(path: Path) -> Iterator[dict[str, Any]]:
    """The entries of a list, as stored."""
    if path.suffix != ".parquet":
        yield from json_content(path)
        return
    try:
        from pyarrow import ArrowInvalid, parquet
    except ImportError:
        raise ValueError(f"{path}: reading it needs pyarrow: pip install 'qsep[hive]'") from None
    try:
        for batch in parquet.ParquetFile(path).iter_batches():
            yield from batch.to_pylist()
    except ArrowInvalid as error:
        raise ValueError(f"{path} is not a Parquet file: {error}") from None


def mixture_of(entry: dict[str, Any]) -> Mixture:
    """An entry of the Parquet list, or of a JSON list, which nests its parameters; KeyError if one is
    missing."""
    sources = entry["sources"]
    if isinstance(sources, dict):  # columns of a nested table
        sources = [
            dict(zip(sources, row, strict=True)) for row in zip(*sources.values(), strict=True)
        ]
    parameters = entry | entry.get("dataset_info", {}) | entry.get("mixing_params", {})
    return Mixture(
        str(parameters["mix_id"]),
        int(parameters["sample_rate"]),
        float(parameters["target_duration"]),
        float(parameters["global_normalization_factor"]),
        tuple(
            Source(
                source["path"],
                source["label"],
                (source["chunk_start_second"], source["chunk_end_second"]),
                (source["crop_start_second"], source["crop_end_second"]),
                source["applied_weight"],
            )
            for source in sources
        ),
    )


def item_query(mixture: Mixture, index: int) -> ItemQuery:
    """Query and labels of a source of a mixture."""
    label = mixture.sources[index].label
    others = [source.label for source in mixture.sources]
    return ItemQuery(label, label, tuple(others[:index] + others[index + 1 :]))


def render(item_id: str, mixture: Mixture, index: int, data: Path) -> Item:
    """The item of a source of a mixture; ValueError for a recording that ends before its chunk."""
    num_samples = int(mixture.seconds * mixture.sample_rate)
    parts = []
    for source in mixture.sources:
        cut = cut_out(source, data / source.file, mixture.sample_rate)[:num_samples]
        padded = np.pad(cut, (0, num_samples - len(cut)))
        parts.append(padded * np.float32(source.weight * mixture.factor))
    query = item_query(mixture, index)
    return item_of_source(item_id, query, parts, index, mixture.sample_rate)


def cut_out(source: Source, path: Path, sample_rate: int) -> Waveform:
    """The crop of the chunk, mono (t,) at sample_rate in Hz; ValueError if the recording ends before."""
    num_samples, rate = length_and_rate(path)
    start, end = (int(seconds * rate) for seconds in source.chunk)
    if end - num_samples > MISSING_SAMPLES:
        raise ValueError(
            f"{path}: {num_samples / rate:.2f} s long; the list asks for {source.chunk[0]:g} to "
            f"{source.chunk[1]:g} s"
        )
    chunk = read_from(path, start, end - start).mean(axis=0, dtype=np.float64).astype(np.float32)
    if rate != sample_rate:
        chunk = soxr.resample(chunk, rate, sample_rate, quality="HQ")
    first, last = (int(seconds * sample_rate) for seconds in source.crop)
    return chunk[first:last]


def average(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Means over all items, and over those of each number of sources."""
    figures = mean_of(rows, FIGURES)
    for number in NUM_SOURCES:
        of_number = mean_of([row for row in rows if row["id"].startswith(f"{number}/")], FIGURES)
        figures |= {f"{name}, {number} sources": value for name, value in of_number.items()}
    return figures

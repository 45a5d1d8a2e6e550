"""DCASE 2026 task 4, spatial semantic segmentation of sound scenes (Nguyen et al. 2026, arXiv 2604.00776).

The data folder is synthesized/test of the development set (Zenodo 19328046): soundscape/NAME.wav, four
channels of first-order Ambisonics at 32 kHz, with no to three target sources, several of which may be of one
class, interference and noise; and oracle_target/NAME_NUMBER_LABEL.wav, each target source dry. As in the
baseline's evaluation the first channel is the mixture, the dry sources are the references, and the figure is
CAPI-SDRi (see metrics.class_aware), the mean over soundscapes that have a score.

A separator is queried for every class in every soundscape. An estimate counts as found if its level is
absent_db or more relative to the mixture; it is one source at most, so the second of two sources of a class
is missed. Models are given the first channel, the omnidirectional one, where the challenge's systems may use
all four. The threshold and the queries' wording are ours: the challenge leaves the labels to the systems.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsep.separation.audio.reader import AudioReader

from ..interface import Item, ItemQuery, Publication
from ..items.published import PublishedItems, choose
from ..items.recordings import combined_hash
from ..metrics.class_aware import class_sdr_i
from ..metrics.sdr import leakage_db

CONDITIONS = ("plain",)
SAMPLE_RATE = 32000
QUERIES = {  # by label
    "AlarmClock": "alarm clock",
    "BicycleBell": "bicycle bell",
    "Blender": "blender",
    "Buzzer": "buzzer",
    "Clapping": "clapping",
    "Cough": "cough",
    "CupboardOpenClose": "cupboard opening or closing",
    "Dishes": "dishes",
    "Doorbell": "doorbell",
    "FootSteps": "footsteps",
    "HairDryer": "hair dryer",
    "MechanicalFans": "mechanical fan",
    "MusicalKeyboard": "musical keyboard",
    "Percussion": "percussion",
    "Pour": "pouring water",
    "Speech": "speech",
    "Typing": "typing",
    "VacuumCleaner": "vacuum cleaner",
}
Sources = Mapping[str, tuple[str, ...]]  # files in oracle_target, by label


def load(
    data: Path,
    manifest: Path | None = None,
    condition: str = "plain",
    labels: str = "all",
    absent_db: str = "-20",
) -> PublishedItems:
    """Items of the soundscapes: each of them with each of QUERIES.

    labels: all, or oracle for only those that are in the soundscape, all of which then count as found.
    absent_db: level below which a source counts as not found, relative to the mixture. manifest: must be
    None. Raises ValueError for a bad setting, a manifest or a misnamed file, FileNotFoundError if there are
    no soundscapes.
    """
    if manifest is not None:
        raise ValueError("dcase2026 has no list of items; its items are the files in soundscape")
    oracle = choose("labels", labels, ("all", "oracle")) == "oracle"
    threshold_db = -math.inf if oracle else level_of(absent_db)
    soundscapes = find_sources(data)
    pairs = [
        (name, label)
        for name, sources in soundscapes.items()
        for label in (sources if oracle else QUERIES)
    ]
    if not pairs:
        raise ValueError(f"{data / 'oracle_target'}: no target sources, so no labels to ask for")
    ids = [f"{name}/{label}" for name, label in pairs]
    counts = {
        item_id: len(soundscapes[name].get(label, ()))
        for item_id, (name, label) in zip(ids, pairs, strict=True)
    }
    return PublishedItems(
        name=f"DCASE 2026 task 4, {len(soundscapes)} soundscapes",
        manifest_sha256=combined_hash(
            file for name, sources in soundscapes.items() for file in (name, *files_of(sources))
        ),
        condition="oracle labels" if oracle else condition,
        ids=tuple(ids),
        item_queries=tuple(item_query(label, soundscapes[name]) for name, label in pairs),
        make=lambda index: render(ids[index], *pairs[index], soundscapes[pairs[index][0]], data),
        publication=Publication(
            partial(measure, threshold_db=threshold_db), partial(average, counts=counts)
        ),
        settings=(str(threshold_db),),
    )


def level_of(text: str) -> float:
    """The level in dB; ValueError unless it is a number of at most 0."""
    try:
        level_db = float(text)
    except ValueError:
        level_db = math.nan
    if not level_db <= 0:
        raise ValueError(f"absent_db={text!r}; expected a level in dB of at most 0, as -20")
    return level_db


def find_sources(data: Path) -> dict[str, Sources]:
    """The sources of each soundscape, sorted.

    Raises FileNotFoundError if there are no soundscapes, ValueError for a source of none of them or of an
    unknown class.
    """
    names = sorted(path.stem for path in (data / "soundscape").glob("*.wav"))
    if not names:
        raise FileNotFoundError(f"{data / 'soundscape'}: no soundscapes (*.wav) in it")
    sources: dict[str, dict[str, tuple[str, ...]]] = {name: {} for name in names}
    for path in sorted((data / "oracle_target").glob("*.wav")):
        stem, _, label = path.stem.rpartition("_")
        name = stem if stem in sources else stem.rpartition("_")[0]  # the number may be left out
        if name not in sources or label not in QUERIES:
            raise ValueError(f"{path}: expected SOUNDSCAPE_NUMBER_LABEL.wav")
        sources[name][label] = (*sources[name].get(label, ()), path.name)
    return dict(sources)


def files_of(sources: Sources) -> list[str]:
    """All files of a soundscape's sources."""
    return [file for files in sources.values() for file in files]


def item_query(label: str, sources: Sources) -> ItemQuery:
    """Query and labels of a class in a soundscape with these sources."""
    return ItemQuery(QUERIES[label], label, tuple(other for other in sources if other != label))


def render(item_id: str, name: str, label: str, sources: Sources, data: Path) -> Item:
    """The item of a class in a soundscape; ValueError for files of another rate or length."""
    mixture = first_channel(data / "soundscape" / f"{name}.wav")
    references = []
    for file in sources.get(label, ()):
        reference = first_channel(data / "oracle_target" / file)
        if reference.shape != mixture.shape:
            raise ValueError(
                f"{file} has {len(reference)} samples and {name}.wav has {len(mixture)}"
            )
        references.append(reference)
    target = np.sum([np.zeros_like(mixture), *references], axis=0)
    query, label, others = item_query(label, sources)
    return Item(
        item_id,
        query,
        label,
        mixture,
        target,
        mixture - target,
        SAMPLE_RATE,
        others=others,
        target_sources=tuple(references),
    )


def first_channel(path: Path) -> NDArray[np.float32]:
    """(t,); ValueError unless the file is at SAMPLE_RATE."""
    with AudioReader(path) as reader:
        if reader.sample_rate != SAMPLE_RATE:
            raise ValueError(f"{path}: {reader.sample_rate} Hz; expected {SAMPLE_RATE} Hz")
        return reader.read()[0].astype(np.float32)


def measure(
    item: Item, estimate: NDArray[np.float64], threshold_db: float
) -> Mapping[str, float | None]:
    """capi_sdr_i: the mean in dB of what the item's class counts; none if neither present nor detected."""
    is_found = float(leakage_db(estimate, item.mixture)) >= threshold_db
    counted = class_sdr_i([estimate] if is_found else [], item.target_sources, item.mixture)
    if not len(counted):
        return {}
    return {"capi_sdr_i": round(float(counted.mean()), 6) + 0.0}


def average(rows: Sequence[Mapping[str, Any]], counts: Mapping[str, int]) -> dict[str, float]:
    """CAPI-SDRi, the mean over soundscapes with a score. counts: number of references of each item.

    A soundscape of which an item failed is left out.
    """
    classes = defaultdict(list)
    for row in rows:
        classes[row["id"].rpartition("/")[0]].append(row)
    expected: dict[str, int] = defaultdict(int)
    for item_id in counts:
        expected[item_id.rpartition("/")[0]] += 1
    means = []
    for name, items in classes.items():
        scored = [row for row in items if row["capi_sdr_i"] is not None]
        if scored and len(items) == expected[name]:
            scores = [row["capi_sdr_i"] for row in scored]
            weights = [max(counts[row["id"]], 1) for row in scored]  # 1: detected although absent
            means.append(float(np.average(scores, weights=weights)))
    return {"CAPI-SDRi": float(np.mean(means))} if means else {}

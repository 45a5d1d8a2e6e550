"""CLIPSep's evaluation (Dong et al. 2023, sec. 5): MUSIC+ and VGGSound-Clean+.

Lists are index files without a header, with paths relative to the data folder: sound, folder of frames,
number of frames, label. An item mixes a clip of the first list with one of the second, drawn by Python's
generator seeded with the item's number: 4.1 s around the middle frame, both divided by 2. The query is the
clip's label, unchanged, or its three middle frames. BSSEval 4 over the whole signal, for the clip of the
first list alone.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsep.queries.interface import ImageQuery
from qsep.separation.audio.reader import AudioReader

from ..estimators.clipsep_masks import NOISE, with_masks
from ..interface import Item, ItemQuery, Publication
from ..items.published import PublishedItems, choose, present
from ..items.recordings import check_files, combined_hash, cut_around, read_list
from ..metrics.bss_scores import BACKENDS, NAMES, Backend, first_source

CONDITIONS = ("plain", "image")  # queries: the label, or frames
SETS = {
    "music": ("data/MUSIC/solo/test.csv", "data/vggsound/test-good-no-music.csv"),
    "vggsound": ("data/vggsound/test-good.csv", "data/vggsound/test-no-music.csv"),
}
# By the numbers of clips in the lists.
PUBLISHED_LISTS = {
    (46, 75): "MUSIC+",
    (100, 5322): "VGGSound-Clean+",
}
SAMPLE_RATE = 16000
NUM_SAMPLES = 65535
NUM_SCORED = 65280  # the length of the authors' inverse transform: 255 hops of 256
FRAMES_PER_SECOND = 1
SILENT = 1e-5  # an item with a signal whose magnitudes sum to no more than this is left out
FIGURES = {
    "bss_sdr": "SDR",
    "bss_sir": "SIR",
    "bss_sar": "SAR",
    "mixture.bss_sdr": "SDR of the mixture",
    "mixture.bss_sir": "SIR of the mixture",
}
MISSING = ("refuse", "skip")
Waveform = NDArray[np.float32]
Row = tuple[str, str, int, str]  # sound, folder of frames, number of frames, label


def load(
    data: Path,
    manifest: Path | None = None,
    condition: str = "plain",
    lists: str = "music",
    interferers: str = "",
    masks: str = "soft",
    noise: str = "off",
    backend: str = "qsep",
    missing: str = "refuse",
) -> PublishedItems:
    """Items of MUSIC+ or VGGSound-Clean+.

    lists: music or vggsound, at the authors' paths; or give the two lists as manifest and interferers.
    masks: soft, or hard (rounded at 0.5). noise: use of CLIPSep-NIT's noise masks, off, all or best, or for
    PITSep best: an oracle (see clipsep_masks). backend: qsep or museval. missing: refuse, or skip to leave
    out items with missing files, as the authors' code does; the draws of other items stay the same.
    Raises ValueError for a bad setting or list, FileNotFoundError for missing files.
    """
    names = SETS[choose("lists", lists, tuple(SETS))]
    if (manifest is None) != (not interferers):
        raise ValueError("give both lists: --manifest LIST and interferers=LIST, or neither")
    first, second = (data / name for name in names)
    if manifest is not None:
        first, second = manifest, Path(interferers)
    (clips, hash1), (others, hash2) = read_clips(first), read_clips(second)
    pairs = [(clip, others[draw(index, len(others))]) for index, clip in enumerate(clips)]
    files = [needed_files(*pair, condition) for pair in pairs]
    numbers: Sequence[int] = range(len(pairs))
    if choose("missing", missing, MISSING) == "refuse":
        remedy = " (missing=skip leaves out their items)"
        check_files([name for names in files for name in names], data, remedy)
    else:
        numbers = [i for i in numbers if all((data / name).is_file() for name in files[i])]
        if not numbers:
            check_files([name for names in files for name in names], data)
    choose("masks", masks, ("soft", "hard"))
    choose("noise", noise, NOISE)
    choose("backend", backend, tuple(BACKENDS))
    notes = [condition] if condition != "plain" else ["text"]
    if len(numbers) < len(pairs):
        notes.append(f"{len(pairs) - len(numbers)} of {len(pairs)} items left aside")
    return PublishedItems(
        name=PUBLISHED_LISTS.get((len(clips), len(others)), "custom lists"),
        manifest_sha256=combined_hash([hash1, hash2]),
        condition=", ".join(notes),
        ids=tuple(f"{number:04d}" for number in numbers),
        item_queries=tuple(item_query(*pairs[number]) for number in numbers),
        make=lambda index: render(numbers[index], *pairs[numbers[index]], data, condition),
        publication=Publication(
            partial(measure, backend=BACKENDS[backend]),
            average,
            partial(
                with_masks,
                hard=masks == "hard",
                noise=noise,
                score=partial(sdr_of, backend=BACKENDS[backend]),
            ),
        ),
        settings=(backend,),
    )


def read_clips(path: Path) -> tuple[list[Row], str]:
    """The rows of an index file, and its SHA-256; ValueError for rows of another form."""
    rows, sha256 = read_list(path)
    clips = []
    for row in rows:
        try:
            audio, frames, num_frames, label = row
            clips.append((audio, frames, int(num_frames), label))
        except ValueError:
            raise ValueError(
                f"{path}: expected rows of sound, frames, number of frames, label; got {','.join(row)}"
            ) from None
    return clips, sha256


def draw(index: int, num_others: int) -> int:
    """The number of the second list's clip in item `index`, as the authors draw it."""
    return random.Random(index).randint(0, num_others - 1)


def item_query(clip: Row, other: Row) -> ItemQuery:
    """Query and labels of an item of two clips."""
    return ItemQuery(clip[3], clip[3], (other[3],))


def middle_frames(clip: Row) -> list[str]:
    """Files of the middle frame, counted from 1, and its neighbours."""
    _, folder, num_frames, _ = clip
    return [f"{folder}/{num_frames // 2 + offset:06d}.jpg" for offset in (-1, 0, 1)]


def needed_files(clip: Row, other: Row, condition: str) -> list[str]:
    """The files of an item, relative to the data folder."""
    return [clip[0], other[0], *(middle_frames(clip) if condition == "image" else [])]


def render(number: int, clip: Row, other: Row, data: Path, condition: str) -> Item:
    """The item of this number, at SAMPLE_RATE."""
    query, label, labels = item_query(clip, other)
    target, rest = (cut(data / row[0], row[2]) / np.float32(2) for row in (clip, other))
    frames = [data / name for name in middle_frames(clip)] if condition == "image" else []
    example = ImageQuery(*frames) if frames else None
    return Item(
        f"{number:04d}",
        query,
        label,
        target + rest,
        target,
        rest,
        SAMPLE_RATE,
        others=labels,
        example=example,
    )


def cut(path: Path, num_frames: int) -> Waveform:
    """(NUM_SAMPLES,) around the time of the middle frame; ValueError unless mono at SAMPLE_RATE."""
    with AudioReader(path) as reader:
        audio, rate = reader.read(), reader.sample_rate
    if rate != SAMPLE_RATE or len(audio) != 1:
        raise ValueError(
            f"{path}: {len(audio)} channels at {rate} Hz; expected mono at {SAMPLE_RATE} Hz, as "
            "`qsep data prepare` writes it"
        )
    centre = int((num_frames // 2 - 0.5) / FRAMES_PER_SECOND * SAMPLE_RATE)
    return cut_around(audio[0], centre, NUM_SAMPLES, path)


def sdr_of(item: Item, estimate: NDArray[np.float64], backend: Backend) -> float:
    """BSSEval's SDR of the estimate (t,) in dB; minus infinity if a signal is silent."""
    score = measure(item, estimate, backend).get("bss_sdr")
    return float("-inf") if score is None else score


def measure(
    item: Item, estimate: NDArray[np.float64], backend: Backend
) -> Mapping[str, float | None]:
    """BSSEval in dB of the estimate (t,) and of the mixture; no scores if a signal is silent.

    The estimate of the rest is the mixture minus the estimate: it does not affect the first source's scores,
    only whether a signal is silent.
    """
    mixture, *references = (
        signal[:NUM_SCORED].astype(np.float64) for signal in (item.mixture, item.target, item.rest)
    )
    estimate = estimate[:NUM_SCORED]
    unprocessed = np.stack([mixture, mixture]).clip(-1, 1)
    parts = unprocessed
    if not np.array_equal(estimate, mixture):  # the authors score the mixture as both estimates
        parts = np.stack([estimate, mixture - estimate]).clip(-1, 1)
    if any(np.abs(signal).sum() <= SILENT for signal in (*references, *parts)):
        return {}
    both = np.stack(references)
    of_mixture = first_source(backend, both, unprocessed, NAMES[:3])
    scores = first_source(backend, both, parts)
    return scores | {f"mixture.{name}": value for name, value in of_mixture.items()}


def average(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Mean, median and, from two items on, standard error: the figures of the authors' evaluation."""
    figures = {}
    for column, name in FIGURES.items():
        if values := present(rows, column):
            figures[f"{name}, mean"] = float(np.mean(values))
            figures[f"{name}, median"] = float(np.median(values))
        if len(values) > 1:
            error = float(np.std(values, ddof=1)) / len(values) ** 0.5
            figures[f"{name}, standard error"] = error
    return figures

"""CLIPSep's evaluation (Dong et al. 2023, sec. 5): MUSIC+ and VGGSound-Clean+.

Lists are index files without a header, of paths in the data folder: sound, folder of frames, number of
frames, label. An item mixes a clip of the first list with one of the second, drawn by Python's generator
with the item's number as its seed, both divided by 2: 4.1 s around the middle frame, as they are. The
query is the clip's label, as it stands, or the three frames in its middle. BSSEval 4 over the whole
signal, of the clip from the first list alone.
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
from ..interface import Item, ItemQuery
from ..items.published import PublishedItems, choose, present
from ..items.recordings import check_files, combined_hash, cut_around, read_list
from ..metrics.bss_scores import BACKENDS, NAMES, Backend, first_source

CONDITIONS = ("plain", "image")  # what is asked with: the label, or frames
SETS = {
    "music": ("data/MUSIC/solo/test.csv", "data/vggsound/test-good-no-music.csv"),
    "vggsound": ("data/vggsound/test-good.csv", "data/vggsound/test-no-music.csv"),
}
PUBLISHED_LISTS = {
    (46, 75): "MUSIC+",
    (100, 5322): "VGGSound-Clean+",
}  # by how many clips the lists hold
SAMPLE_RATE = 16000
NUM_SAMPLES = 65535
NUM_SCORED = 65280  # as many as the authors' inverse transform gives: 255 hops of 256
FRAMES_PER_SECOND = 1
SILENT = 1e-5  # sum of magnitudes of a signal that puts its item aside
FIGURES = {
    "bss_sdr": "SDR",
    "bss_sir": "SIR",
    "bss_sar": "SAR",
    "mixture.bss_sdr": "SDR of the mixture",
    "mixture.bss_sir": "SIR of the mixture",
}
MISSING = ("refuse", "skip")
Waveform = NDArray[np.float32]
Row = tuple[str, str, int, str]  # of an index file


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
    """lists: music or vggsound, where the authors have theirs; or the two as manifest and interferers.

    masks: soft, or hard (rounded at 0.5); noise: what noise masks of CLIPSep-NIT do, off, all or best
    (see clipsep_masks); backend: qsep or museval. missing: skip leaves items aside whose files are not
    there, as the authors' code does; neighbours keep their draws.
    """
    names = SETS[choose("lists", lists, tuple(SETS))]
    if (manifest is None) != (not interferers):
        raise ValueError("give both lists: --manifest LIST and interferers=LIST, or neither")
    first, second = (data / name for name in names)
    if manifest is not None:
        first, second = manifest, Path(interferers)
    (clips, hash1), (others, hash2) = read_clips(first), read_clips(second)
    pairs = [(clip, others[draw(index, len(others))]) for index, clip in enumerate(clips)]
    wanted = [needed_files(*pair, condition) for pair in pairs]
    kept: Sequence[int] = range(len(pairs))
    if choose("missing", missing, MISSING) == "refuse":
        remedy = " (missing=skip leaves their items aside)"
        check_files([name for names in wanted for name in names], data, remedy)
    else:
        kept = [i for i in kept if all((data / name).is_file() for name in wanted[i])]
        if not kept:
            check_files([name for names in wanted for name in names], data)
    choose("masks", masks, ("soft", "hard"))
    choose("noise", noise, NOISE)
    choose("backend", backend, tuple(BACKENDS))
    told = [condition] if condition != "plain" else ["text"]
    told += [f"{len(pairs) - len(kept)} of {len(pairs)} items left aside"] * (
        len(kept) < len(pairs)
    )
    return PublishedItems(
        name=PUBLISHED_LISTS.get((len(clips), len(others)), "custom lists"),
        manifest_sha256=combined_hash([hash1, hash2]),
        condition=", ".join(told),
        ids=tuple(f"{index:04d}" for index in kept),
        item_queries=tuple(item_query(*pairs[index]) for index in kept),
        make=lambda place: render(kept[place], *pairs[kept[place]], data, condition),
        measure=partial(measure, backend=BACKENDS[backend]),
        average=average,
        set_up=partial(with_masks, hard=masks == "hard", noise=noise, num_scored=NUM_SCORED),
        settings=(backend,),
    )


def read_clips(path: Path) -> tuple[list[Row], str]:
    """The rows of an index file, and its hash."""
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
    """Which clip of the second list goes with an item: the authors' draw."""
    return random.Random(index).randint(0, num_others - 1)


def item_query(clip: Row, other: Row) -> ItemQuery:
    return ItemQuery(clip[3], clip[3], (other[3],))


def middle_frames(clip: Row) -> list[str]:
    """The frame in the middle, counted from 1, and its neighbours."""
    _, folder, num_frames, _ = clip
    return [f"{folder}/{num_frames // 2 + offset:06d}.jpg" for offset in (-1, 0, 1)]


def needed_files(clip: Row, other: Row, condition: str) -> list[str]:
    return [clip[0], other[0], *(middle_frames(clip) if condition == "image" else [])]


def render(index: int, clip: Row, other: Row, data: Path, condition: str) -> Item:
    query, label, labels = item_query(clip, other)
    target, rest = (cut(data / row[0], row[2]) / np.float32(2) for row in (clip, other))
    frames = [data / name for name in middle_frames(clip)] if condition == "image" else []
    example = ImageQuery(*frames) if frames else None
    return Item(
        f"{index:04d}",
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
    """(NUM_SAMPLES,) around the time of the middle frame; the file has to be as the authors prepare it."""
    with AudioReader(path) as reader:
        audio, rate = reader.read(), reader.sample_rate
    if rate != SAMPLE_RATE or len(audio) != 1:
        raise ValueError(
            f"{path}: {len(audio)} channels at {rate} Hz; expected mono at {SAMPLE_RATE} Hz, as "
            "`qsep data prepare` writes it"
        )
    centre = int((num_frames // 2 - 0.5) / FRAMES_PER_SECOND * SAMPLE_RATE)
    return cut_around(audio[0], centre, NUM_SAMPLES, path)


def measure(
    item: Item, estimate: NDArray[np.float64], backend: Backend
) -> Mapping[str, float | None]:
    """BSSEval of the estimate and of the mixture; nothing where a signal is silent.

    What the mixture holds beside the estimate is the estimate of the rest: it has no part in the scores
    of the first source, but in whether something is silent.
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
    """Mean, standard error (from two items on) and median, as the authors' evaluation prints them."""
    figures = {}
    for column, name in FIGURES.items():
        if values := present(rows, column):
            figures[f"{name}, mean"] = float(np.mean(values))
            figures[f"{name}, median"] = float(np.median(values))
        if len(values) > 1:
            error = float(np.std(values, ddof=1)) / len(values) ** 0.5
            figures[f"{name}, standard error"] = error
    return figures

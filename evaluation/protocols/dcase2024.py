"""DCASE 2024 task 9, language-queried audio source separation: the validation set, mixed on the fly.

The data folder holds lass_synthetic_validation.csv (columns source, noise, snr, caption) and the folder
lass_validation with SOURCE.wav and NOISE.wav. Mono at 16 kHz. The noise is scaled to the listed SNR over
the whole clip; a mixture whose peak exceeds 1 is scaled, with its parts, to a peak of 0.9.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from qsep.separation.audio.reader import read_mono

from ..interface import Item, ItemQuery, Publication
from ..items.premixed import uncentred
from ..items.published import PublishedItems, mean_of
from ..items.recordings import check_files, read_list, without_header

CONDITIONS = ("plain",)
SAMPLE_RATE = 16000
LIST, AUDIO = "lass_synthetic_validation.csv", "lass_validation"
NUM_COLUMNS, NUM_ITEMS = 4, 3000
PEAK = 0.9
COLUMNS = {"SDR": "sdr", "SDRi": "sdr_i", "SI-SDR": "uncentred_si_sdr"}


class Mix(NamedTuple):
    """A row of the list. source, noise: files relative to the data folder."""

    source: str
    noise: str
    snr_db: int
    caption: str


def load(
    data: Path, manifest: Path | None = None, condition: str = "plain", audio: str = AUDIO
) -> PublishedItems:
    """Items of the validation list. manifest: another list in its format; audio: folder of recordings in
    data.

    Raises ValueError for a bad list, FileNotFoundError for missing files.
    """
    path = manifest or data / LIST
    rows, sha256 = read_list(path)
    mixes = [mix_of(path, row, audio) for row in without_header(path, rows, NUM_COLUMNS)]
    check_files((file for mix in mixes for file in (mix.source, mix.noise)), data)
    complete = len(mixes) == NUM_ITEMS
    return PublishedItems(
        name="DCASE 2024 task 9" + ("" if complete else f", {len(mixes)} of {NUM_ITEMS}"),
        manifest_sha256=sha256,
        condition=condition,
        ids=tuple(f"{index:04d}" for index in range(len(mixes))),
        item_queries=tuple(ItemQuery(mix.caption, "") for mix in mixes),
        make=lambda index: render(f"{index:04d}", mixes[index], data),
        publication=Publication(uncentred, partial(mean_of, columns=COLUMNS)),
    )


def mix_of(path: Path, row: list[str], audio: str) -> Mix:
    """A row of the list as files and SNR; ValueError unless the SNR is in whole decibels."""
    source, noise, snr_db, caption = row
    try:
        return Mix(f"{audio}/{source}.wav", f"{audio}/{noise}.wav", int(snr_db), caption)
    except ValueError:
        raise ValueError(f"{path}: snr {snr_db!r}; expected whole decibels") from None


def render(item_id: str, mix: Mix, data: Path) -> Item:
    """The item at SAMPLE_RATE; ValueError for parts of unequal length or silent ones."""
    source, noise = (read_mono(data / file, SAMPLE_RATE) for file in (mix.source, mix.noise))
    if len(source) != len(noise):
        raise ValueError(
            f"{mix.source} has {len(source)} samples and {mix.noise} {len(noise)}; expected equal lengths"
        )
    powers = [float(np.mean(signal.astype(np.float64) ** 2)) for signal in (source, noise)]
    if not all(powers):
        silent = mix.noise if powers[0] else mix.source
        raise ValueError(f"{silent} is silent, so no SNR can be set")
    noise = noise * np.float32((powers[0] / 10 ** (mix.snr_db / 10) / powers[1]) ** 0.5)
    peak = float(np.abs(source + noise).max())
    if peak > 1:
        source, noise = (signal * np.float32(PEAK / peak) for signal in (source, noise))
    return Item(item_id, mix.caption, "", source + noise, source, noise, SAMPLE_RATE)

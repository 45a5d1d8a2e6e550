"""The items that a run did best and worst, kept as audio beside its rows."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qsep.separation.storage.results import Results
from qsep.separation.storage.temporary import write_atomically

from ..interface import Estimator, ItemSet
from ..scores import Row

ROLES = ("mixture", "target", "estimate")


def ranked(rows: Sequence[Row]) -> list[Row]:
    """From best to worst: by SI-SDRi, or by leakage where no row has that; equals by id."""
    metric, sign = main_metric(rows)
    scored = [row for row in rows if row[metric] is not None]
    return sorted(scored, key=lambda row: (-sign * row[metric], row["id"]))


def main_metric(rows: Sequence[Row]) -> tuple[str, int]:
    """The column that items are ranked by, and 1 where more of it is better, -1 where less is."""
    if any(row["si_sdr_i"] is not None for row in rows) or not rows:
        return "si_sdr_i", 1
    return "leakage_db", -1


def keep_extremes(
    estimator: Estimator, items: ItemSet, rows: Sequence[Row], results: Results, num_each: int
) -> None:
    """Write mixture, target and estimate of the num_each best and worst items into the folder audio.

    They are rendered and estimated once more: nothing is kept of the others while a run goes on.
    audio/audio.json names the stem of each item's files, STEM.ROLE.flac; those there are kept.
    """
    folder, order = results.folder / "audio", ranked(rows)
    chosen = {row["id"] for row in (*order[:num_each], *order[max(0, len(order) - num_each) :])}
    stems = {
        item_id: f"{index:06d}" for index, item_id in enumerate(items.ids) if item_id in chosen
    }
    for index, item_id in enumerate(items.ids):
        if item_id not in stems:
            continue
        paths = [folder / f"{stems[item_id]}.{role}.flac" for role in ROLES]
        if all(path.is_file() for path in paths):
            continue
        item = items.render(index)
        waveforms: list[NDArray[Any]] = [item.mixture, item.target, as_samples(estimator(item))]
        # One gain for all three: their levels are to be compared, and FLAC ends at 1.
        gain = 1 / max(1.0, *(float(np.abs(w).max()) for w in waveforms))
        for path, waveform in zip(paths, waveforms, strict=True):
            write_flac(path, gain * waveform, item.sample_rate, results.commit)
    kept = {f"audio/{stem}.{role}.flac" for stem in stems.values() for role in ROLES}
    # Those of a run that knew fewer items go.
    results.remove({name for name in results.entries if name.endswith(".flac")} - kept)
    results.write_text("audio/audio.json", json.dumps(stems, indent=1) + "\n")


def as_samples(estimate: Any) -> NDArray[np.float64]:
    import torch

    return torch.as_tensor(estimate, device="cpu").detach().double().numpy()


def write_flac(
    path: Path,
    waveform: NDArray[Any],
    sample_rate: int,
    commit: Callable[[Path, Path], object] = os.replace,
) -> None:
    """16 bits: the noise of rounding lies 98 dB under full scale."""
    import soundfile

    write_atomically(
        path,
        lambda file: soundfile.write(file, waveform, sample_rate, "PCM_16", format="FLAC"),
        commit,
    )

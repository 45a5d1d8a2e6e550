"""Audio of a run's best and worst items, saved beside its rows."""

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
    """The rows from best to worst, by SI-SDRi, or by leakage if no row has that; ties by id."""
    metric, sign = main_metric(rows)
    scored = [row for row in rows if row[metric] is not None]
    return sorted(scored, key=lambda row: (-sign * row[metric], row["id"]))


def main_metric(rows: Sequence[Row]) -> tuple[str, int]:
    """The column that items are ranked by, and 1 if higher is better, -1 if lower is."""
    if any(row["si_sdr_i"] is not None for row in rows) or not rows:
        return "si_sdr_i", 1
    return "leakage_db", -1


def keep_extremes(
    estimator: Estimator, items: ItemSet, rows: Sequence[Row], results: Results, num_each: int
) -> None:
    """Save mixture, target and estimate of the num_each best and worst items in the folder audio.

    The items are rendered and estimated again, for no audio is stored while a run goes on.
    audio/audio.json maps item ids to the stems of their files, STEM.ROLE.flac. Existing files are kept.
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
        # One gain for all three, so that levels stay comparable; FLAC is limited to [-1, 1].
        gain = 1 / max(1.0, *(float(np.abs(w).max()) for w in waveforms))
        for path, waveform in zip(paths, waveforms, strict=True):
            write_flac(path, gain * waveform, item.sample_rate, results.commit)
    current = {f"audio/{stem}.{role}.flac" for stem in stems.values() for role in ROLES}
    # Files of a run over fewer items are removed.
    results.remove({name for name in results.entries if name.endswith(".flac")} - current)
    results.write_text("audio/audio.json", json.dumps(stems, indent=1) + "\n")


def as_samples(estimate: Any) -> NDArray[np.float64]:
    """An estimate, array or tensor (t,), as a float64 array."""
    import torch

    return torch.as_tensor(estimate, device="cpu").detach().double().numpy()


def write_flac(
    path: Path,
    waveform: NDArray[Any],
    sample_rate: int,
    commit: Callable[[Path, Path], object] = os.replace,
) -> None:
    """Write a waveform (t,) in [-1, 1] as 16-bit FLAC; the quantisation noise is 98 dB below full scale."""
    import soundfile

    write_atomically(
        path,
        lambda file: soundfile.write(file, waveform, sample_rate, "PCM_16", format="FLAC"),
        commit,
    )

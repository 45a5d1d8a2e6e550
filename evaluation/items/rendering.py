"""A manifest's mixture as waveforms, sample for sample as the corpora's reference renderer makes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qsep.separation.audio.reader import read_mono

from .manifest import Cut, MixtureRow

SAMPLE_RATE = 32000
Waveform = NDArray[np.float32]


def render_mixture(row: MixtureRow, data: Path) -> tuple[Waveform, Waveform, Waveform]:
    """Mixture, target and rest, each (t,) float32 at SAMPLE_RATE.

    The parts of a family's target are scaled to the power of the first and summed; then each interferer
    is scaled to snr_db over the cut; all three are divided by the mixture's peak if it exceeds 1.
    Raises ValueError for a recording that is silent over its cut.
    """
    parts = [_cut(data, cut, row.seconds) for cut in row.targets]
    target = parts[0].copy()
    for cut, part in zip(row.targets[1:], parts[1:], strict=True):
        target += scaled(part, _power(parts[0], row.targets[0]), cut)
    power = _power(target, row.targets[0])
    rest = np.zeros_like(target)
    for cut in row.interferers:
        interferer = _cut(data, cut, row.seconds)
        rest += scaled(interferer, power / 10 ** (row.snr_db / 10), cut)
    mixture = target + rest
    peak = max(1.0, float(np.abs(mixture).max()))
    return mixture / peak, target / peak, rest / peak


def scaled(waveform: Waveform, power: float, cut: Cut) -> Waveform:
    """The waveform (t,) with this mean power; ValueError if it is silent. cut: named in the message."""
    gain = np.sqrt(power / _power(waveform, cut))
    return (waveform * gain).astype(np.float32)


def _power(waveform: Waveform, cut: Cut) -> float:
    power = float(np.mean(waveform.astype(np.float64) ** 2))
    if power == 0:
        raise ValueError(f"{cut.path} is silent over the cut, so no SNR can be set")
    return power


def _cut(data: Path, cut: Cut, seconds: float) -> Waveform:
    """Mono (t,) at SAMPLE_RATE from the cut's start, zero-padded after the file's end."""
    mono = read_mono(data / cut.path, SAMPLE_RATE)
    num_samples = round(seconds * SAMPLE_RATE)
    piece = mono[round(cut.start_seconds * SAMPLE_RATE) :][:num_samples]
    return np.pad(piece, (0, num_samples - len(piece))).astype(np.float32)

"""Running protocols on miniature folders, and scores worked out by formula."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from qsep.evaluation.interface import Item
from qsep.evaluation.run import Summary, evaluate


class Leaky:
    """An estimator that leaves a third of the rest, and more noise the longer the query is."""

    name, fingerprint, model = "leaky", "1", None

    def __call__(self, item: Item) -> np.ndarray:
        return estimate(item.target, item.rest, item.query)


def estimate(target: np.ndarray, rest: np.ndarray, query: str) -> np.ndarray:
    noise = np.random.default_rng(len(query)).standard_normal(target.shape)
    return 0.9 * target + 0.3 * rest + 1e-3 * len(query) * noise


def noise(seed: int, num_samples: int, *channels: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal((num_samples, *channels))


def write(path: Path, waveform: np.ndarray, rate: int) -> np.ndarray:
    """Written as floats; returns what reading gives, mono."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform.astype(np.float32), rate, subtype="FLOAT")
    read = waveform.astype(np.float32).astype(np.float64)
    return read.mean(axis=1) if read.ndim == 2 else read


def write_csv(path: Path, *rows: Sequence[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def plain_sdr(target: np.ndarray, answer: np.ndarray) -> float:
    return float(10 * np.log10((target**2).mean() / ((target - answer) ** 2).mean()))


def projected_sdr(target: np.ndarray, answer: np.ndarray) -> float:
    """SI-SDR without removing means."""
    part = (answer @ target) / (target @ target) * target
    return float(10 * np.log10((part @ part) / ((answer - part) @ (answer - part))))


def scored(target: np.ndarray, mixture: np.ndarray, query: str) -> tuple[float, float]:
    """SDRi and SI-SDR."""
    answer = estimate(target, mixture - target, query)
    improvement = plain_sdr(target, answer) - plain_sdr(target, mixture)
    return improvement, projected_sdr(target, answer)


def run(items: Any, out: Path) -> Summary:
    summary = evaluate(Leaky(), items, out)
    assert not summary.failed
    return summary


# Each score is rounded to 1e-6 dB; float32 subtraction of mixture and target: 1e-5 dB.
CLOSE = 1e-4

"""How well sounds are separated of which the model knows nothing, asked for in words.

    python -m qsep.recipes.benchmarks.quality.unknown_sounds --sounds DIR --data DIR [--slopes S…]

--sounds: usr/share of the unpacked packages that unknown_sounds.toml lists. --data: the folder of sounds150.
Each sound is mixed with dev recordings of sounds150, 5 s long, within 5 dB. Prints the SI-SDR improvement by
words, and its mean with a 95 % interval. --slopes: values to compare of `SLOPE` in inference/unexplained.py.
"""

from __future__ import annotations

import argparse
import logging
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qsep.evaluation.metrics.sdr import si_sdr
from qsep.evaluation.metrics.statistics import describe
from qsep.queries.interface import TextQuery
from qsep.separation.api import load
from qsep.separation.audio.reader import read_mono
from qsep.separation.inference import unexplained

from ...data.mixtures.clips import read_clip_list

RATE, SECONDS, PER_SOUND, SEED = 32000, 5, 3, 0
LEVEL_DB = 5.0
SOUNDING = 0.02  # of the peak: quieter beginnings and ends are cut off
LIST = Path(__file__).with_suffix(".toml")
Waveform = NDArray[np.float32]


class Mixed(NamedTuple):
    """words for the unknown sound (t,), and a known one (t,), label its class."""

    words: str
    unknown: Waveform
    known: Waveform
    label: str


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sounds", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of sounds150")
    parser.add_argument("-m", "--model", default="sounds150")
    parser.add_argument("--slopes", type=float, nargs="+", default=[unexplained.SLOPE])
    options = parser.parse_args()
    logging.getLogger("qsep").setLevel(logging.ERROR)
    model = load(options.model, "cpu")
    words, scores, known = [], [], []
    for item in mixtures(options.sounds, options.data):
        mixture = item.unknown + item.known
        before = float(si_sdr(mixture, item.unknown))
        row = []
        for slope in options.slopes:
            unexplained.SLOPE = slope
            estimate = np.asarray(model.separate(mixture, item.words, RATE).target)
            row.append(float(si_sdr(estimate, item.unknown)) - before)
        reading = model.read(TextQuery(item.words))
        known.append(reading is not None and reading.known)
        words.append(item.words)
        scores.append(row)
        print(
            f"{item.words} and {item.label}: " + ", ".join(f"{score:.1f} dB" for score in row),
            flush=True,
        )
    table = np.array(scores)
    for wording in dict.fromkeys(words):
        means = table[[text == wording for text in words]].mean(axis=0)
        print(f"{wording:30}" + "".join(f" {mean:6.1f}" for mean in means))
    for name, chosen in (
        ("all", [True] * len(known)),
        ("read as unknown", [not each for each in known]),
    ):
        for slope, column in zip(options.slopes, table[chosen].T, strict=True):
            mean = describe(column.tolist())
            print(
                f"{name}, slope {slope:g}: {mean.mean:.2f} dB [{mean.low:.2f}, {mean.high:.2f}], median "
                f"{mean.median:.2f}, {mean.count} mixtures"
            )


def mixtures(sounds: Path, data: Path) -> Iterator[Mixed]:
    """PER_SOUND mixtures of each sound of the list; ValueError or AudioError for missing files."""
    rng = np.random.default_rng(SEED)
    clips = read_clip_list(data, "dev")
    for words, files in tomllib.loads(LIST.read_text("utf-8"))["sounds"].items():
        for file in files:
            for _ in range(PER_SOUND):
                clip = clips[rng.integers(len(clips))]
                unknown = segment(sounds / file, rng)
                known = segment(data / clip.file, rng) * 10 ** (
                    rng.uniform(-LEVEL_DB, LEVEL_DB) / 20
                )
                yield Mixed(words, unknown, known.astype(np.float32), clip.label)


def segment(path: Path, rng: np.random.Generator) -> Waveform:
    """SECONDS of a recording at a root mean square of 0.05, a short one repeated with pauses: (t,)."""
    num_samples = SECONDS * RATE
    waveform = read_mono(path, RATE)
    loud = np.flatnonzero(np.abs(waveform) > SOUNDING * np.abs(waveform).max())
    waveform = once = waveform[loud[0] : loud[-1] + 1]
    while len(waveform) < 0.6 * num_samples:
        pause = np.zeros(rng.integers(RATE // 20, RATE * 3 // 10), np.float32)
        waveform = np.concatenate([waveform, pause, once])
    start = rng.integers(max(0, len(waveform) - num_samples) + 1)
    cut = waveform[start : start + num_samples]
    cut = np.pad(cut, (0, num_samples - len(cut)))
    return (0.05 * cut / np.sqrt(np.mean(np.square(cut)))).astype(np.float32)


if __name__ == "__main__":
    main()

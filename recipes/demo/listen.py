"""Results of `make demo`: what each should sound like, its SDR, and spectrograms.

    python -m qsep.recipes.demo.listen [FOLDER]

The scene is a sum of parts: all but the speech are synthesised again, and speech is the difference.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from qsep.evaluation.metrics.sdr import sdr
from qsep.separation.audio.file_names import DEFAULT_NAMING
from qsep.separation.storage.temporary import write_atomically

from ..errors import run_script
from .make_scene import SCENE_FILE, SCENE_KINDS
from .make_scene import parts as synthesized_parts

Waveform = NDArray[np.float64]

FFT_SAMPLES = 2048
PICTURE = "spectrograms.png"
QUALITY = (  # minimum SDR in dB
    (15.0, "very good"),
    (8.0, "good"),
    (3.0, "fair: some of the other sounds remains"),
)
POOR = "poor"


@dataclass(frozen=True)
class Expected:
    """A query of the demo, the parts of the scene that it names, and what they sound like."""

    query: str
    parts: tuple[str, ...]
    sounds_like: str


EXPECTED = (
    Expected(
        "a person talking", ("speech",), "a synthetic voice, two sentences, no rain behind it"
    ),
    Expected("a flute", ("flute",), "a flute alone, a little to the left"),
    Expected("rain", ("rain",), "quiet, steady rain, no voice and no flute in it"),
    Expected("the drums", ("bass_drum", "snare_drum"), "a bass drum and a snare drum: a family"),
    Expected(
        "everything but the drums",
        ("speech", "flute", "rain"),
        "the voice and the flute in the rain, no drums: a complement",
    ),
)


def scene_parts() -> tuple[Waveform, dict[str, Waveform], int]:
    """The scene (2, t), its parts (2, t) by kind, which sum to it, and the sample rate in Hz."""
    scene, sample_rate = soundfile.read(SCENE_FILE, always_2d=True)
    synthetic = [kind for kind in SCENE_KINDS if kind != "speech"]
    parts = {
        kind: waveform.astype(np.float64)
        for kind, waveform in synthesized_parts(sample_rate, kinds=synthetic).items()
    }
    return scene.T, parts | {"speech": scene.T - sum(parts.values())}, sample_rate


def in_words(sdr_db: float) -> str:
    """A description of an SDR in dB."""
    return next((words for min_db, words in QUALITY if sdr_db >= min_db), POOR)


def result_file(folder: Path, query: str) -> Path:
    """The file of a query's result in the demo's folder."""
    return folder / DEFAULT_NAMING.result_names(SCENE_FILE.stem, query, residual=False)[0]


def describe(folder: Path) -> list[str]:
    """Lines that describe each result in the folder; also writes their spectrograms there.

    Raises OSError if a result is missing.
    """
    scene, truth, sample_rate = scene_parts()
    lines, rows = (
        [f"{SCENE_FILE}: the scene, a voice, a flute and drums in the rain"],
        [("scene", scene)],
    )
    for expected in EXPECTED:
        file = result_file(folder, expected.query)
        part = np.sum([truth[kind] for kind in expected.parts], axis=0)
        result = soundfile.read(file, always_2d=True)[0].T
        before, after = (float(sdr(each, part).mean()) for each in (scene, result))
        lines += [
            f"{file}: {expected.sounds_like}",
            f"    {in_words(after)}: SDR {after:.1f} dB, {after - before:+.1f} dB over the scene itself",
        ]
        rows += [(f"{expected.query}: the part", part), (f"{expected.query}: the result", result)]
    draw(rows, sample_rate, folder / PICTURE)
    return [*lines, f"{folder / PICTURE}: spectrograms, each part above its result"]


def draw(rows: Sequence[tuple[str, Waveform]], sample_rate: int, picture: Path) -> None:
    """Write a PNG with a spectrogram of each titled waveform (c, t), up to 12 kHz."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.5 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (title, waveform) in zip(axes, rows, strict=True):
        # The cosine of -180 dB keeps the level of silence finite.
        axis.specgram(
            waveform.mean(axis=0) + 1e-9 * np.cos(np.arange(waveform.shape[1])),
            NFFT=FFT_SAMPLES,
            noverlap=FFT_SAMPLES * 3 // 4,
            Fs=sample_rate,
            vmin=-140,
            vmax=-40,
        )
        axis.set_ylim(0, 12000)
        axis.set_title(title, loc="left", fontsize=9)
        axis.set_yticks([0, 4000, 8000, 12000], ["0", "4", "8", "12 kHz"])
    axes[-1].set_xlabel("seconds")
    write_atomically(picture, lambda path: figure.savefig(path, format="png", dpi=110))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    folder = Path(*(sys.argv[1:] if arguments is None else arguments) or ["demo-output"])
    try:
        lines = describe(folder)
    except (OSError, soundfile.LibsndfileError) as error:
        sys.exit(f"qsep: error: {folder}: {error}: run `make demo` again")
    print("\n".join(["", "What you should hear:", *lines]))


if __name__ == "__main__":
    run_script(main)

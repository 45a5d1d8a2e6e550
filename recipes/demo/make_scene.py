"""Makes scene.flac, the recording that `make demo` separates; synthetic, so that it can be redistributed.

    python -m qsep.recipes.demo.make_scene [-o FILE] [--parts DIR] [--kinds rain,flute,clock_tick]

Speech is synthesised by espeak-ng (apt-get install espeak-ng), other sounds by recipes/data/synthetic.py.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from qsep.separation.storage.temporary import scratch_folder

from ..data.synthetic import KINDS
from ..errors import run_script

SCENE_FILE = Path(__file__).with_name("scene.flac")
SAMPLE_RATE = 44100  # stereo at another rate than the model's, so that the demo shows both
SECONDS = 10.0
SEED = 34  # gives dull rain, which compresses well
SCENE_KINDS = ("speech", "rain", "flute", "bass_drum", "snare_drum")
SENTENCES = (  # start in seconds, text
    (0.9, "It has been raining since the early morning."),
    (5.4, "Somebody is playing the flute beside the window."),
)


@dataclass(frozen=True)
class Placement:
    """level_db: RMS level of the loudest tenth of a second, re full scale. pan: -1 left to 1 right."""

    level_db: float
    pan: float


# Rain is in the centre, for equal channels halve the file.
PLACEMENTS = {
    "speech": Placement(-21, 0.2),
    "rain": Placement(-34, 0.0),
    "clock_tick": Placement(-30, -0.6),
    "flute": Placement(-22, -0.4),
    "bass_drum": Placement(-18, 0.0),
    "snare_drum": Placement(-24, 0.3),
}


def parts(
    sample_rate: int = SAMPLE_RATE, seed: int = SEED, kinds: Sequence[str] = SCENE_KINDS
) -> dict[str, np.ndarray]:
    """Each kind of the scene alone: (2, t) float32; the scene is their sum.

    A part depends on the seed and its kind only, not on the other kinds. Raises ValueError for an unknown
    kind, and for speech if espeak-ng is not installed.
    """
    unknown = [kind for kind in kinds if kind not in PLACEMENTS]
    if unknown:
        raise ValueError(f"no synthesis of {', '.join(unknown)}; known: {', '.join(PLACEMENTS)}")
    num_samples = round(SECONDS * sample_rate)
    scene = {}
    for kind in kinds:
        placement = PLACEMENTS[kind]
        if kind in KINDS:
            generator = np.random.default_rng([seed, *kind.encode()])
            mono = KINDS[kind](generator, num_samples, sample_rate)
        else:
            mono = spoken(num_samples, sample_rate)
        gain = 10 ** (placement.level_db / 20) / loudest_rms(mono, sample_rate)
        angle = (placement.pan + 1) * np.pi / 4  # equal power at every pan
        sides = np.array([np.cos(angle), np.sin(angle)], np.float32)
        scene[kind] = (sides[:, None] * (gain * mono)).astype(np.float32)
    return scene


def loudest_rms(mono: np.ndarray, sample_rate: int) -> float:
    """Root mean square of the loudest tenth of a second of mono (t,), t at least that long."""
    size = sample_rate // 10
    frames = mono[: len(mono) // size * size].reshape(-1, size)
    return float(np.sqrt((frames**2).mean(axis=1).max()))


def spoken(num_samples: int, sample_rate: int) -> np.ndarray:
    """SENTENCES spoken by espeak-ng at their times: (t,) float32; ValueError if it is not installed."""
    if not shutil.which("espeak-ng"):
        raise ValueError(
            "speech needs espeak-ng: apt-get install espeak-ng, or leave it out with --kinds"
        )
    speech = np.zeros(num_samples, np.float32)
    for start_seconds, text in SENTENCES:
        with scratch_folder() as scratch:
            path = scratch / "sentence.wav"
            command = ["espeak-ng", "-v", "en-gb", "-s", "150", "-w", str(path), text]
            subprocess.run(command, check=True)
            sentence, rate = soundfile.read(path, dtype="float32")
        sentence = soxr.resample(sentence, rate, sample_rate, quality="HQ")
        start = round(start_seconds * sample_rate)
        room = speech[start : start + len(sentence)]
        room += sentence[: len(room)]
    return speech


def write(path: Path, waveform: np.ndarray, sample_rate: int) -> None:
    """Write a waveform (c, t) atomically as 16-bit FLAC or WAV, by suffix; ValueError if it clips."""
    peak = float(np.abs(waveform).max())
    if peak >= 1:
        raise ValueError(f"{path}: peak {peak:.2f}; lower the levels in PLACEMENTS")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{path.name}")
    soundfile.write(partial, waveform.T, sample_rate, subtype="PCM_16")
    partial.replace(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Make the demo's scene.")
    parser.add_argument("-o", "--output", type=Path, default=SCENE_FILE, metavar="FILE")
    parser.add_argument("--parts", type=Path, metavar="DIR", help="also write each part alone")
    parser.add_argument(
        "--kinds", default=",".join(SCENE_KINDS), help="of: " + ", ".join(PLACEMENTS)
    )
    options = parser.parse_args(arguments)
    kinds = [kind.strip() for kind in options.kinds.split(",")]
    try:
        scene = parts(kinds=kinds)
        write(options.output, np.sum(list(scene.values()), axis=0), SAMPLE_RATE)
        for kind, waveform in scene.items() if options.parts else ():
            write(options.parts / f"{kind}.flac", waveform, SAMPLE_RATE)
    except ValueError as error:
        parser.error(str(error))
    print(f"{options.output}: {', '.join(kinds)}")


if __name__ == "__main__":
    run_script(main)

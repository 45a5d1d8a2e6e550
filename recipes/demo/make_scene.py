"""Makes scene.flac, the recording that `make demo` separates: nobody's, so it can be given away.

    python -m qsep.recipes.demo.make_scene [-o FILE] [--parts DIR] [--kinds rain,flute,clock_tick]

Speech comes from espeak-ng (apt-get install espeak-ng), all else from recipes/data/synthetic.py.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from ..data.synthetic import KINDS

SCENE_FILE = Path(__file__).with_name("scene.flac")
SAMPLE_RATE = 44100  # stereo and not the model's rate, so that the demo shows both are handled
SECONDS = 10.0
SEED = 34  # rain dark enough for a small file
SCENE_KINDS = ("speech", "rain", "flute")
SENTENCES = (  # start in seconds, text
    (0.9, "It has been raining since the early morning."),
    (5.4, "Somebody is playing the flute beside the window."),
)


@dataclass(frozen=True)
class Place:
    """level_db: of the loudest tenth of a second, root mean square, re full scale;
    pan: -1 left, 0 centre, 1 right."""

    level_db: float
    pan: float


# Rain stays in the centre: equal channels halve the file.
PLACES = {
    "speech": Place(-21, 0.2),
    "rain": Place(-40, 0.0),
    "clock_tick": Place(-30, -0.6),
    "flute": Place(-22, -0.4),
    "bass_drum": Place(-16, 0.0),
}


def parts(
    sample_rate: int = SAMPLE_RATE, seed: int = SEED, kinds: Sequence[str] = SCENE_KINDS
) -> dict[str, np.ndarray]:
    """Each kind alone as it is in the scene: (2, t) float32; the scene is their sum.

    A part depends on the seed and its own kind only, not on what else is there.
    """
    unknown = [kind for kind in kinds if kind not in PLACES]
    if unknown:
        raise ValueError(f"no synthesis of {', '.join(unknown)}; known: {', '.join(PLACES)}")
    num_samples = round(SECONDS * sample_rate)
    scene = {}
    for kind in kinds:
        place = PLACES[kind]
        if kind in KINDS:
            generator = np.random.default_rng([seed, *kind.encode()])
            mono = KINDS[kind](generator, num_samples, sample_rate)
        else:
            mono = spoken(num_samples, sample_rate)
        gain = 10 ** (place.level_db / 20) / loudest_rms(mono, sample_rate)
        angle = (place.pan + 1) * np.pi / 4  # equal power at every pan
        sides = np.array([np.cos(angle), np.sin(angle)], np.float32)
        scene[kind] = (sides[:, None] * (gain * mono)).astype(np.float32)
    return scene


def loudest_rms(mono: np.ndarray, sample_rate: int) -> float:
    """Root mean square of the loudest tenth of a second of mono (t,), t at least that long."""
    size = sample_rate // 10
    frames = mono[: len(mono) // size * size].reshape(-1, size)
    return float(np.sqrt((frames**2).mean(axis=1).max()))


def spoken(num_samples: int, sample_rate: int) -> np.ndarray:
    """SENTENCES in espeak-ng's voice at their times: (t,) float32. ValueError where it is not installed."""
    if not shutil.which("espeak-ng"):
        raise ValueError(
            "speech needs espeak-ng: apt-get install espeak-ng, or leave it out by --kinds"
        )
    speech = np.zeros(num_samples, np.float32)
    for start_seconds, text in SENTENCES:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "sentence.wav"
            command = ["espeak-ng", "-v", "en-gb", "-s", "150", "-w", str(path), text]
            subprocess.run(command, check=True)
            sentence, rate = soundfile.read(path, dtype="float32")
        sentence = soxr.resample(sentence, rate, sample_rate, quality="HQ")
        start = round(start_seconds * sample_rate)
        room = speech[start : start + len(sentence)]
        room += sentence[: len(room)]
    return speech


def write(path: Path, waveform: np.ndarray, sample_rate: int) -> None:
    """waveform (c, t) as 16-bit FLAC or WAV, by the name's ending; whole or not at all."""
    peak = float(np.abs(waveform).max())
    if peak >= 1:
        raise ValueError(f"{path}: peak {peak:.2f}; lower the levels in PLACES")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{path.name}")
    soundfile.write(partial, waveform.T, sample_rate, subtype="PCM_16")
    partial.replace(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Make the demo's scene.")
    parser.add_argument("-o", "--output", type=Path, default=SCENE_FILE, metavar="FILE")
    parser.add_argument("--parts", type=Path, metavar="DIR", help="also write each part alone")
    parser.add_argument("--kinds", default=",".join(SCENE_KINDS), help="of: " + ", ".join(PLACES))
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
    main()

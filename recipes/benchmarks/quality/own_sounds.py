"""How well the recipe `own` learns five new classes of 20 recordings each, and what it forgets.

    python -m qsep.recipes.benchmarks.quality.own_sounds --data DIR -o FOLDER [KEY=VALUE…]

DIR is the folder of sounds150, on whose dev-2 the old classes are scored. The new sounds are synthetic, of
kinds that sounds150 lacks: a sonar, a theremin, Morse code, a modem and a Geiger counter. FOLDER gets the
recordings, the corpus, the training run and the evaluations; KEY=VALUE are settings of the recipe. Prints
SI-SDR improvements before and after, and the processor time of the training in minutes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from ...data.synthetic import band_noise, ring
from ...errors import run_script

SAMPLE_RATE, NUM_CLIPS = 32000, 20
Sound = Callable[[np.random.Generator, np.ndarray], np.ndarray]  # times (t,) in seconds to (t,)


def tone(hz: np.ndarray, harmonics_db: tuple[float, ...] = (0,)) -> np.ndarray:
    """A tone of a varying pitch hz (t,) with harmonics at these levels."""
    cycles = np.cumsum(hz) / SAMPLE_RATE
    return sum(
        (
            10 ** (db / 20) * np.sin(2 * np.pi * n * cycles)
            for n, db in enumerate(harmonics_db, start=1)
        ),
        np.zeros_like(hz),
    )


def sonar(generator: np.random.Generator, times: np.ndarray) -> np.ndarray:
    """Pings of one pitch, each of which rings for a second and returns as a weaker echo."""
    pings = np.zeros_like(times)
    period, delay = generator.uniform(1.2, 3), generator.uniform(0.3, 0.9)
    for onset in np.arange(generator.uniform(0, 1), times[-1], period):
        for start, level in ((onset, 1.0), (onset + delay, generator.uniform(0.1, 0.4))):
            late = np.maximum(times - start, 0)
            pings += level * (times >= start) * np.minimum(late / 0.005, 1) * np.exp(-6 * late)
    return pings * tone(np.full_like(times, generator.uniform(900, 2500)), (0, -25))


def theremin(generator: np.random.Generator, times: np.ndarray) -> np.ndarray:
    """Slow glides between notes with a wide vibrato; almost a sine."""
    num_notes = max(2, round(times[-1] / 0.7))
    notes = np.cumsum(generator.integers(-5, 6, num_notes)) % 24 + generator.integers(50, 62)
    glide = np.interp(times, np.linspace(0, times[-1], num_notes), notes)
    vibrato = 0.4 * np.sin(2 * np.pi * generator.uniform(5, 7) * times)
    return tone(440 * 2 ** ((glide + vibrato - 69) / 12), (0, -18, -28))


def morse_code(generator: np.random.Generator, times: np.ndarray) -> np.ndarray:
    """A tone keyed in random dots and dashes of one speed."""
    unit = generator.uniform(0.05, 0.11)
    marks: list[float] = []
    while len(marks) * unit < times[-1] + 1:
        length, pause = generator.choice([1, 3]), generator.choice([1, 1, 1, 3, 7])
        marks += [1.0] * length + [0.0] * pause
    keyed = np.array(marks)[(times / unit).astype(int)]
    keyed = np.convolve(keyed, np.hanning(161) / np.hanning(161).sum(), "same")
    return keyed * tone(np.full_like(times, generator.uniform(500, 1000)))


def modem(generator: np.random.Generator, times: np.ndarray) -> np.ndarray:
    """Frequency-shift keying at random bits, over a carrier that changes now and then."""
    bits = generator.integers(0, 2, round(300 * times[-1]) + 2)[(300 * times).astype(int)]
    carriers = generator.choice([1080, 1750, 2100], round(times[-1]) + 2)[times.astype(int)]
    return tone(carriers + np.where(bits == 1, 100.0, -100.0), (0, -20, -24))


def geiger_counter(generator: np.random.Generator, times: np.ndarray) -> np.ndarray:
    """Clicks at random times, a few to many in a second."""
    clicks = generator.poisson(generator.uniform(5, 40) / SAMPLE_RATE, len(times)).astype(float)
    modes_hz = generator.uniform(1500, 5000, 3)
    click = ring(320, SAMPLE_RATE, modes_hz, generator.uniform(0.002, 0.008, 3))
    return np.convolve(clicks, click)[: len(times)]


SOUNDS: dict[str, Sound] = {
    "sonar": sonar,
    "theremin": theremin,
    "morse_code": morse_code,
    "modem": modem,
    "geiger_counter": geiger_counter,
}


def write_recordings(folder: Path) -> None:
    """NUM_CLIPS recordings of 4 to 8 s for each class, in a subfolder each, with some noise."""
    for number, (label, sound) in enumerate(SOUNDS.items()):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for count in range(NUM_CLIPS):
            generator = np.random.default_rng([number, count])
            times = np.arange(round(generator.uniform(4, 8) * SAMPLE_RATE)) / SAMPLE_RATE
            clip = sound(generator, times)
            clip = 0.7 * clip / np.abs(clip).max()
            clip += 0.004 * band_noise(generator, len(clip), SAMPLE_RATE, 100, 8000)
            soundfile.write(folder / label / f"{count:02d}.flac", clip, SAMPLE_RATE)


def qsep(*arguments: str | Path) -> None:
    """Runs a command; SystemExit with its exit code if it fails."""
    done = subprocess.run([sys.executable, "-m", "qsep", *map(str, arguments)])
    if done.returncode:
        raise SystemExit(done.returncode)


def score(folder: Path, protocol: str, data: Path, model: str | Path, *more: str) -> float:
    """Evaluates, continuing an earlier attempt; the mean SI-SDR improvement in dB."""
    source = ("--data", data, "-m", model, *more)
    qsep("evaluate", protocol, *source, "-o", folder, "--no-baselines")
    overall = json.loads((folder / "summary.json").read_text("utf-8"))["overall"]
    return float(overall["si_sdr_i"]["mean"])


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("settings", nargs="*", help="of the recipe, KEY=VALUE")
    parser.add_argument("--data", type=Path, required=True, help="folder of sounds150")
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    out: Path = arguments.out
    write_recordings(out / "recordings")
    qsep("data", "folder", out / "recordings", "-o", out / "corpus")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    qsep("train", "own", f"data.folder={out / 'corpus'}", *arguments.settings, "-o", out / "run")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    minutes = (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) / 60
    print(f"training: {minutes:.1f} minutes of processor time")
    trained = out / "run" / "model"
    for protocol, data, more in (
        ("own", out / "corpus", ()),
        ("sounds150", arguments.data, ("--manifest", "dev-2")),
    ):
        scores = [
            score(out / f"{protocol}-{name}", protocol, data, model, *more)
            for name, model in (("before", "sounds150"), ("after", trained))
        ]
        print(f"{protocol}: {scores[0]:.2f} dB before, {scores[1]:.2f} dB after")


if __name__ == "__main__":
    run_script(main)

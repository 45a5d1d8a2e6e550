"""Speed of the default model on this machine.

python -m qsep.recipes.benchmarks.costs.speed [-m MODEL]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from qsep.separation import DEFAULT_MODEL
from qsep.separation.storage.temporary import scratch_folder

from ...errors import run_script

QUERY = "a dog barking"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-m", "--model", default=DEFAULT_MODEL)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with scratch_folder() as folder:
        for line in (
            real_time_factor(arguments.model, arguments.runs),
            *command_times(arguments.model, folder, arguments.runs),
        ):
            print(line, flush=True)


def noise_file(path: Path, seconds: float, sample_rate: int, num_channels: int) -> Path:
    """Write seeded noise as 16-bit WAV, second by second."""
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", sample_rate, num_channels, "PCM_16") as file:
        for _ in range(round(seconds)):
            file.write(rng.normal(0, 0.1, (sample_rate, num_channels)).astype(np.float32))
    return path


def median_seconds(run: Callable[[], object], runs: int) -> float:
    """Median seconds of a call over several runs, after a warm-up."""
    run()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def real_time_factor(model: str, runs: int) -> str:
    """A line with the time of Model.separate on 60 s of mono at 32 kHz, without loading."""
    import torch

    from qsep.separation import load

    loaded = load(model, "cpu")
    audio = np.random.default_rng(0).normal(0, 0.1, 60 * 32000).astype(np.float32)
    seconds = median_seconds(lambda: loaded.separate(audio, QUERY, 32000), runs)
    threads = torch.get_num_threads()
    return f"60 s mono 32 kHz, {threads} threads: {seconds:.2f} s, {seconds / 60:.4f} of real time"


def command(model: str, recording: Path, out: Path) -> list[str]:
    """`qsep separate` of a recording, as arguments for a process."""
    options = ["-q", QUERY, "-o", str(out), "-m", model, "--device", "cpu", "--overwrite"]
    return [sys.executable, "-m", "qsep.recipes", "separate", str(recording), *options]


def command_times(model: str, folder: Path, runs: int) -> list[str]:
    """Lines with the time of the command on 10 s, start-up included, with and without a cached query."""
    recording = noise_file(folder / "short.wav", 10, 44100, 2)
    cache = folder / "cache"
    environment = {**os.environ, "QSEP_CACHE": str(cache)}

    def run() -> None:
        arguments = command(model, recording, folder / "out")
        subprocess.run(arguments, check=True, env=environment, stdout=subprocess.DEVNULL)

    def run_uncached() -> None:
        (cache / "embeddings.sqlite").unlink(missing_ok=True)
        run()

    uncached, cached = median_seconds(run_uncached, runs), median_seconds(run, runs)
    return [
        f"qsep separate, 10 s stereo 44.1 kHz, cached query: {cached:.2f} s",
        f"qsep separate, 10 s stereo 44.1 kHz, new query: {uncached:.2f} s",
    ]


if __name__ == "__main__":
    run_script(main)

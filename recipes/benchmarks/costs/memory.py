"""Peak memory of `qsep separate` by length of the recording.

    python -m qsep.recipes.benchmarks.costs.memory [-- OPTIONS of qsep separate]

An hour of stereo takes 700 MB of disk for each file that is written.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

from qsep.separation import DEFAULT_MODEL
from qsep.separation.storage.shipped import shipped_folder
from qsep.separation.storage.temporary import scratch_folder

from ...errors import run_script
from .speed import command, noise_file

SAMPLE_RATE = 44100


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("-m", "--model", default=DEFAULT_MODEL)
    parser.add_argument("--seconds", type=int, nargs="+", default=[10, 3600])
    parser.add_argument("--channels", type=int, default=2)
    parser.add_argument("--queries", type=int, default=1, help="at most 150")
    parser.add_argument("options", nargs="*", help="after --: options of qsep separate")
    arguments = parser.parse_args()
    for seconds in arguments.seconds:
        with scratch_folder() as folder:
            name = f"{seconds}.wav"
            recording = noise_file(folder / name, seconds, SAMPLE_RATE, arguments.channels)
            separate_command = command(arguments.model, recording, folder / "out")
            more = more_queries(arguments.queries - 1)
            megabytes, run_seconds = peak_of([*separate_command, *more, *arguments.options])
        print(
            f"{seconds} s of {arguments.channels} channels at {SAMPLE_RATE} Hz, {arguments.queries} queries: "
            f"peak {megabytes:.0f} MB, {run_seconds:.0f} s",
            flush=True,
        )


def more_queries(num: int) -> list[str]:
    """Options with this many more queries, for classes of the default model."""
    config = shipped_folder(DEFAULT_MODEL) / "config.json"
    classes = json.loads(config.read_text("utf-8"))["separator"]["config"]["classes"]
    return [word for name in classes[:num] for word in ("-q", name.replace("_", " "))]


def peak_of(command: list[str]) -> tuple[float, float]:
    """Peak resident memory of a command in MiB, and its seconds; SystemExit if it fails.

    On Linux the peak is never below that of this process.
    """
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    unit = 1024 if sys.platform != "darwin" else 1024**2
    return usage.ru_maxrss / unit, time.perf_counter() - start


if __name__ == "__main__":
    run_script(main)

"""Many short files by `qsep separate FOLDER`, killed in the middle and continued, some of them bad.

    python -m qsep.recipes.benchmarks.costs.bulk --num 10000

Prints the time per file, the process's memory early and late in a run, and whether any file was lost or
processed twice. By default the model is tiny, with random weights, so that the network takes no time.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from qsep.separation.storage.temporary import scratch_folder

from ...errors import run_script

SAMPLE_RATE, FILES_A_FOLDER, QUERY = 16000, 100, "rain"
BAD = {"empty.wav": b"", "noise.wav": bytes(range(256)) * 9, "page.mp3": b"<html>gone</html>"}
SEPARATOR = {
    "class_names": ["dog", "rain"],
    "num_phrases": 4,
    "query_dim": 384,
    "sample_rate": SAMPLE_RATE,
    "window_samples": 256,
    "hop_samples": 128,
    "num_bands": 32,
    "channels": [4, 6, 8, 10, 12],
    "blocks": [1, 1, 1, 1, 1],
    "mask_features": 5,
}


def main() -> None:
    """Make the files, run the command three times and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("-m", "--model", help="default: a tiny one with random weights")
    parser.add_argument("--num", type=int, default=10000, help="files")
    parser.add_argument("--seconds", type=float, default=0.3, help="of each")
    parser.add_argument("options", nargs="*", help="after --: of qsep separate, as --workers 2")
    arguments = parser.parse_args()
    with scratch_folder() as folder:
        model = arguments.model or str(tiny_model(folder / "tiny"))
        make_files(folder / "in", arguments.num, arguments.seconds)
        for line in measure(folder, model, arguments.num, arguments.options):
            print(line, flush=True)


def tiny_model(folder: Path) -> Path:
    """A checkpoint of a tiny network, whose computing time is negligible."""
    import torch

    from qsep.separation.components import build_encoder, build_separator
    from qsep.separation.storage.checkpoint import describe, save_checkpoint

    torch.manual_seed(0)
    separator: Any = build_separator("band_unet", SEPARATOR)
    encoder = build_encoder("minilm", {})
    description = describe("band_unet", separator, "minilm", encoder, {"recipe": "benchmark"})
    save_checkpoint(folder, description, separator.state_dict(), "# For a benchmark\n")
    return folder


def make_files(folder: Path, num: int, seconds: float) -> None:
    """Seeded noise as 16-bit WAV in subfolders, and broken files in the first of them."""
    rng = np.random.default_rng(0)
    for index in range(num):
        path = folder / f"{index // FILES_A_FOLDER:04}" / f"{index:06}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, rng.normal(0, 0.1, round(seconds * SAMPLE_RATE)), SAMPLE_RATE)
    for name, content in BAD.items():
        (folder / "0000" / name).write_bytes(content)


def measure(folder: Path, model: str, num: int, options: list[str]) -> Iterator[str]:
    """Lines of a report. Raises SystemExit if a file was lost or processed twice."""
    options = ["-q", QUERY, "-o", str(folder / "out"), "-m", model, "--quiet", *options]
    command = [sys.executable, "-m", "qsep.recipes", "separate", str(folder / "in"), *options]
    manifest = folder / "out" / "manifest.jsonl"
    run = Watched(command, manifest)
    run.watch(until=num // 2)
    run.child.send_signal(signal.SIGKILL)
    run.child.wait()
    yield f"first run, killed: {run.report()}"
    run = Watched(command, manifest)
    run.watch()
    yield f"second run, to its end: {run.report()}; exit code {run.child.returncode}"
    again = Watched(command, manifest)
    again.watch()
    yield f"third run, {len(BAD)} bad files left: {again.report()}; exit code {again.child.returncode}"
    rows = [json.loads(line) for line in manifest.read_bytes().splitlines()]
    done = Counter(row["key"] for row in rows if "run" not in row and not row["error"])
    bad = {Path(row["key"]).name for row in rows if "run" not in row and row["error"]}
    results = sum(1 for path in (folder / "out").rglob(f"*.{QUERY}.wav"))
    yield (
        f"{len(done)} of {num} files done, {sum(done.values()) - len(done)} twice, {results} results; "
        f"bad: {', '.join(sorted(bad))}"
    )
    if len(done) != num or sum(done.values()) != num or results != num or bad != set(BAD):
        raise SystemExit("files were lost or processed twice")


class Watched:
    """A run in its own process, whose progress and memory are sampled while it works."""

    def __init__(self, command: list[str], manifest: Path) -> None:
        self.manifest = manifest
        self.before = self.rows()
        self.memory: list[tuple[int, float]] = []  # files done in this run, resident MB
        self.start = time.perf_counter()
        self.times: list[tuple[int, float]] = []
        self.processor: list[float] = []  # seconds of processor time at the same moments
        self.child = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def rows(self) -> int:
        """Lines of the manifest so far."""
        return self.manifest.read_bytes().count(b"\n") if self.manifest.exists() else 0

    def watch(self, until: int | None = None) -> None:
        """Sample until the manifest has this many lines, or the run has ended."""
        while self.child.poll() is None:
            done = self.rows() - self.before
            if done > 1:  # the first line describes the run
                if megabytes := resident_megabytes(self.child.pid):
                    self.times.append((done - 1, time.perf_counter() - self.start))
                    self.processor.append(processor_seconds(self.child.pid))
                    self.memory.append((done - 1, megabytes))
            if until is not None and done >= until:
                return
            time.sleep(0.5)

    def report(self) -> str:
        """Files, time a file, and memory early and late."""
        taken = time.perf_counter() - self.start
        if len(self.times) < 2 or self.times[-1][0] == self.times[0][0]:
            return f"{self.rows() - self.before - 1} files in {taken:.1f} s"
        (first, began), (last, ended) = self.times[0], self.times[-1]
        early = self.memory[max(1, len(self.memory) // 10)]
        late = self.memory[-1]
        processor = self.processor[-1] - self.processor[0]
        return (
            f"{last} files in {taken:.1f} s, {1000 * (ended - began) / (last - first):.1f} ms a file "
            f"({1000 * processor / (last - first):.1f} ms of one processor); "
            f"{early[1]:.0f} MB after {early[0]} files, {late[1]:.0f} MB after {late[0]}"
        )


def processor_seconds(pid: int) -> float:
    """CPU time of a process, user and system; 0 if it has ended, and on systems other than Linux."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_megabytes(pid: int) -> float:
    """Resident memory of a process; 0 if it has ended, and on systems other than Linux."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    run_script(main)

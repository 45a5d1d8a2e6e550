"""Speed of bss_eval compared with museval.

python -m qsep.recipes.benchmarks.costs.bss_eval [--threads 2]
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable

import numpy as np

from ...errors import run_script

SAMPLE_RATE, SECONDS, NUM_SOURCES = 16000, 10, 2


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=20)
    arguments = parser.parse_args()
    # Linear algebra libraries read these when they are loaded, which is later.
    os.environ |= {
        f"{name}_NUM_THREADS": str(arguments.threads) for name in ("OMP", "OPENBLAS", "MKL")
    }
    print(compare(arguments.threads, arguments.runs))


def compare(threads: int, runs: int) -> str:
    """A line with the time of both on the same signals, and the largest difference of their results in dB."""
    import torch

    from qsep.evaluation.metrics.bss_eval import bss_eval
    from qsep.evaluation.metrics.bss_scores import import_museval

    museval = import_museval()

    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    references = rng.standard_normal((NUM_SOURCES, SECONDS * SAMPLE_RATE, 1))
    estimates = references + 0.3 * references[::-1] + 0.1 * rng.standard_normal(references.shape)

    def by_museval() -> tuple[np.ndarray, ...]:
        result = museval.metrics.bss_eval(references, estimates, window=math.inf, hop=math.inf)
        return result[:4]

    def by_qsep() -> tuple[np.ndarray, ...]:
        return bss_eval(references, estimates)

    apart_db = max(np.abs(a - b).max() for a, b in zip(by_qsep(), by_museval(), strict=True))
    # In turns, and the fastest of each: other load on the machine then slows both alike.
    times = [(seconds(by_museval), seconds(by_qsep)) for _ in range(runs)]
    slow, fast = (min(column) for column in zip(*times, strict=True))
    return (
        f"BSSEval v4 of {SECONDS} s, {NUM_SOURCES} sources, {SAMPLE_RATE} Hz, {threads} threads: "
        f"museval {1000 * slow:.1f} ms, qsep {1000 * fast:.1f} ms, {slow / fast:.1f} times as fast; "
        f"{apart_db:.1e} dB apart"
    )


def seconds(run: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    time.sleep(0.1)  # until the threads of the previous call have stopped spinning
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    run_script(main)

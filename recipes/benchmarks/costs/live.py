"""Speed of a causal model on one core, hop by hop.

python -m qsep.recipes.benchmarks.costs.live [MODEL]

The floor of sounds150-live: of four steps of 20 ms, two take 6 million multiply-accumulates and read 0.4 MB
of weights, one 12 and 1.1, and one 56 and 28. At 40 G a second and 15 GB/s that is 1 ms a step. The rest is
some 200 small tensor operations, and products with matrices of 4 to 16 rows, which reach half of the
memory's speed: weights packed for oneDNN or MKL, or kept in 8 bits, were no faster.
"""

from __future__ import annotations

import argparse
import statistics
import time

from qsep.separation import LIVE_MODEL

from ...errors import run_script

STEPS, WARM_UP = 400, 50


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default=LIVE_MODEL)
    print(measure(parser.parse_args().model))


def measure(model: str) -> str:
    """A line with latency and real-time factors, in wall and CPU time, for one query and one channel.

    model: a name or folder, as for `qsep.load`; ValueError for one that is not causal.
    """
    import torch

    from qsep.queries.interface import QueryEmbedding
    from qsep.separation.api import load

    torch.set_num_threads(1)
    separator = load(model, device="cpu").separator
    if not separator.capabilities.streaming:
        raise ValueError(f"{model} looks ahead; only a causal model separates live")
    generator = torch.Generator().manual_seed(0)
    query = torch.rand(1, separator.query_dim, generator=generator)
    live = separator.live(QueryEmbedding(query), 1)
    rate = separator.sample_rate
    hop = live.latency_samples // 2  # windows overlap by half
    wall_times, cpu_times = [], []
    for _ in range(STEPS):
        block = 0.1 * torch.randn(1, hop, generator=generator)
        wall, cpu = time.perf_counter(), time.process_time()
        list(live.push(block))
        wall_times.append(time.perf_counter() - wall)
        cpu_times.append(time.process_time() - cpu)
    step = hop / rate
    wall, cpu = (statistics.mean(times[WARM_UP:]) / step for times in (wall_times, cpu_times))
    median, longest = (choice(wall_times[WARM_UP:]) / step for choice in (statistics.median, max))
    return (
        f"{model}: {1000 * live.latency_samples / rate:.0f} ms latency, steps of {1000 * step:.0f} ms; "
        f"{wall:.3f} of real time by the clock (median {median:.3f}, longest step {longest:.3f}), "
        f"{cpu:.3f} of processor time"
    )


if __name__ == "__main__":
    run_script(main)

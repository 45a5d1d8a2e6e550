"""Speed of a causal separator on one core, hop by hop.

python -m qsep.recipes.benchmarks.costs.live [RECIPE]
"""

from __future__ import annotations

import argparse
import statistics
import time

from ...errors import run_script
from ...training.config import read_recipe

STEPS, WARM_UP = 400, 50


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", nargs="?", default="sounds150-live")
    print(measure(parser.parse_args().recipe))


def measure(recipe: str) -> str:
    """A line with latency and real-time factors, in wall and CPU time.

    recipe: a recipe of a causal separator, built with random weights; one query, one channel.
    """
    import torch

    from qsep.queries.interface import QueryEmbedding
    from qsep.separation.components import build_separator
    from qsep.separation.models._live import LiveSeparator

    torch.set_num_threads(1)
    settings = dict(read_recipe(recipe)[0].model)
    separator = build_separator(settings.pop("kind"), settings).eval()
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(1, separator.query_dim, generator=generator)
    live = LiveSeparator(separator, QueryEmbedding(query), 1)
    hop, rate = live.hop_samples, separator.sample_rate
    wall_times, cpu_times = [], []
    for _ in range(STEPS):
        block = 0.1 * torch.randn(1, hop, generator=generator)
        wall, cpu = time.perf_counter(), time.process_time()
        live.push(block)
        wall_times.append(time.perf_counter() - wall)
        cpu_times.append(time.process_time() - cpu)
    step = hop / rate
    wall, cpu = (statistics.median(times[WARM_UP:]) / step for times in (wall_times, cpu_times))
    return (
        f"{recipe}: {1000 * live.latency_samples / rate:.0f} ms latency, steps of {1000 * step:.0f} ms; "
        f"median {wall:.3f} of real time by the clock, {cpu:.3f} of processor time"
    )


if __name__ == "__main__":
    run_script(main)

"""Training items a second of a recipe's loader, and how many its model's step can consume on a GPU.

python -m qsep.recipes.benchmarks.loader [RECIPE] [TABLE.KEY=VALUE]... [--workers 2] [--items 256]

The step's floating-point operations, forward and backward, are counted by PyTorch for one item of noise;
norms, activations and Fourier transforms are not counted. --tflops: 10^12 operations that a GPU does in a
second at most; --utilization: the share of it reached in practice. A table shows the time of an item's parts.
"""

from __future__ import annotations

import argparse
import cProfile
import itertools
import pstats
import statistics
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from ..data.mixtures.unmixed import UnmixedBatch
from ..errors import run_script
from ..training.build import (
    build_book,
    build_data,
    check_data,
    for_workers,
)
from ..training.config import Recipe, read_recipe
from ..training.sampler import StepSampler
from .costs.training import DATA_SHEETS, consumption

HEADROOM = 5  # the loader should make this many times what is consumed

# Functions by the ends of their files' paths. None of them calls another one.
PARTS: dict[str, tuple[tuple[str, str], ...]] = {
    "decode": (("audio/reader.py", "read_from"), ("audio/reader.py", "length_and_rate")),
    "cut": (("mix_and_separate.py", "active_stretch"), ("mix_and_separate.py", "cut_or_pad")),
    "resample": (("mixtures/augment.py", "change_speed"), ("mixtures/segments.py", "resampled")),
    "filters": (("mixtures/augment.py", "random_filter"), ("mixtures/augment.py", "filtered")),
    "beats": (("effects/beats.py", "synchronous"),),
    "device": (("effects/devices.py", "banded"), ("effects/devices.py", "distorted")),
    "room": (("effects/placing.py", "placed"),),
    "levels": (
        ("effects/levels.py", "at_powers"),
        ("effects/levels.py", "leveled"),
        ("effects/levels.py", "within_peak"),
    ),
}
REST, COLLATE = "mix", "collate"  # everything else in an item; a batch's stacking and sums


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", nargs="?", default="sounds150-base")
    parser.add_argument("overrides", nargs="*", metavar="TABLE.KEY=VALUE")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--items", type=int, default=256)
    parser.add_argument("--tflops", type=float, default=DATA_SHEETS["H100"])
    parser.add_argument("--utilization", type=float, default=0.3)
    arguments = parser.parse_args()
    recipe, _ = read_recipe(arguments.recipe, arguments.overrides)
    torch.set_num_threads(1)
    used, sample_rate = consumption(recipe)
    print(f"{recipe.name}: {used.tflop:.3g} TFLOP for the step of one item of {used.seconds:.2f} s")
    for share in (arguments.utilization, 1.0):
        rate = used.items_a_second(arguments.tflops, share)
        print(
            f"a GPU of {arguments.tflops:g} TFLOP/s used at {share:.0%}: {rate:.0f} items/s; "
            f"{HEADROOM} times that: {HEADROOM * rate:.0f}"
        )
    check_data(recipe)
    data = for_workers(
        build_data(recipe, build_book(recipe), sample_rate, validation=False), recipe
    )
    rate = items_a_second(data, recipe, arguments.items, arguments.workers)
    print(f"loader with {arguments.workers} workers: {rate:.1f} items/s")
    parts = time_of_parts(data, recipe, arguments.items)
    print(table(parts))
    cores = (
        HEADROOM * used.items_a_second(arguments.tflops, arguments.utilization) / per_core(parts)
    )
    if recipe.train.mix_on_device:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        batch = data.collate([data[draw] for draw in range(recipe.train.batch_size)])
        print(f"filters and sums on {device}: {device_milliseconds(batch, device):.3f} ms an item")
    print(
        f"{HEADROOM} times the consumption at {arguments.utilization:.0%} takes {cores:.0f} cores"
    )


def items_a_second(data: Any, recipe: Recipe, num_items: int, num_workers: int) -> float:
    """By the clock over num_items, after a first batch of each worker."""
    size = recipe.train.batch_size
    num_steps = -(-num_items // size)
    first = max(1, num_workers)
    sampler = StepSampler(0, first + num_steps, size, 0, 1)
    loader = DataLoader(
        data, batch_sampler=sampler, collate_fn=data.collate, num_workers=num_workers
    )
    batches = iter(loader)
    for _ in itertools.islice(batches, first):
        pass
    began = time.perf_counter()
    for _ in batches:
        pass
    return num_steps * size / (time.perf_counter() - began)


def time_of_parts(data: Any, recipe: Recipe, num_items: int) -> dict[str, float]:
    """Milliseconds of one core for an item, by part, slightly enlarged by the profiler."""
    size = recipe.train.batch_size
    data.collate([data[draw] for draw in range(2)])  # imports, and tables made once
    # Processor time, since other processes may keep the cores busy.
    profile, collate_seconds, item_seconds = cProfile.Profile(time.process_time), 0.0, 0.0
    num_steps = max(1, num_items // size)
    for step in range(num_steps):
        began = time.process_time()
        profile.enable()
        items: list[Any] = [data[draw] for draw in range(step * size, (step + 1) * size)]
        profile.disable()
        loaded = time.process_time()
        data.collate(items)
        item_seconds += loaded - began
        collate_seconds += time.process_time() - loaded
    parts = dict(seconds_of_parts(profile))
    parts[REST] = item_seconds - sum(parts.values())
    parts[COLLATE] = collate_seconds
    return {name: 1e3 * seconds / (num_steps * size) for name, seconds in parts.items()}


def seconds_of_parts(profile: cProfile.Profile) -> Iterator[tuple[str, float]]:
    """The seconds inside the functions of each of PARTS."""
    stats: dict[tuple[str, int, str], Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    for part, functions in PARTS.items():
        seconds = sum(
            cumulative
            for (file, _, name), (_, _, _, cumulative, _) in stats.items()
            if any(name == function and file.endswith(end) for end, function in functions)
        )
        if seconds:
            yield part, seconds


def device_milliseconds(batch: UnmixedBatch, device: str, repeats: int = 5) -> float:
    """Median milliseconds an item in which the device mixes a batch, with the copy to it."""
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        batch.to(device)
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times[1:]) / len(batch.ids)


def table(milliseconds: dict[str, float]) -> str:
    """Parts with their milliseconds an item and their share of all."""
    total = sum(milliseconds.values())
    lines = ["| part | ms of a core an item | share |", "|---|---|---|"]
    for part, value in milliseconds.items():
        lines.append(f"| {part} | {value:.2f} | {value / total:.0%} |")
    lines.append(f"| total | {total:.2f} | {per_core(milliseconds):.1f} items/s a core |")
    return "\n".join(lines)


def per_core(milliseconds: dict[str, float]) -> float:
    """Items a second of one core."""
    return 1e3 / sum(milliseconds.values())


if __name__ == "__main__":
    run_script(main)

"""Cost of a recipe's training step on this device: time, items a second, memory, share of the peak.

python -m qsep.recipes.benchmarks.costs.training [RECIPE] [TABLE.KEY=VALUE]... [--steps 20]

Steps of noise in the shape of the recipe's mixtures, on one device: queries, loss, gradients, clipping, AdamW
and the averaged weights, without data, validation and saving. Rows: as the recipe says; with torch.compile
and its gain; with activation checkpointing, if the model has blocks.

Floating-point operations are counted by PyTorch for one item; norms, activations and Fourier transforms are
not counted, nor activations that are computed again. The peak is that of the card's data sheet, of bf16
without sparsity, or --tflops; for other devices it is measured by a product of large matrices.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from qsep.separation.api.loading import choose_device

from ...errors import run_script
from ...training.acceleration import blocks_of, checkpoint_activations, compile_networks
from ...training.build import build_book, build_query_encoder, build_task
from ...training.config import Recipe, read_recipe
from ...training.estimate import BlankEncoder, noise_batch
from ...training.learner import Learner
from ...training.output.state import Ema
from ...training.precision import precision_on
from .network import peak_megabytes

# 10^12 operations a second by NVIDIA's data sheets, dense bf16. The longest name that fits counts.
DATA_SHEETS = {
    "A100": 312.0,
    "A10": 125.0,
    "L4": 121.0,
    "L40S": 362.0,
    "H100": 989.0,
    "H100 PCIe": 756.0,
    "H200": 989.0,
    "B200": 2250.0,
}
MATRIX_SIZE = {"cuda": 8192}  # of the product that measures a peak; elsewhere SMALL
SMALL = 2048
NUM_WARM_UP = 3  # steps that are not timed, compilation among them


class Consumption(NamedTuple):
    """tflop: 10^12 operations of one item's step, forward and backward. seconds: of audio in an item."""

    tflop: float
    seconds: float

    def items_a_second(self, tflops: float, utilization: float) -> float:
        """What a GPU consumes."""
        return tflops * utilization / self.tflop


class Cost(NamedTuple):
    """Of steps of batch_size items. step_seconds: their median. start_seconds: of the first one."""

    name: str
    batch_size: int
    step_seconds: float
    start_seconds: float
    gigabytes: float

    @property
    def items_a_second(self) -> float:
        """Items a second."""
        return self.batch_size / self.step_seconds


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("recipe", nargs="?", default="sounds150-base")
    parser.add_argument("overrides", nargs="*", metavar="TABLE.KEY=VALUE")
    parser.add_argument("--accelerator", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--steps", type=int, default=20, help="timed steps of each row")
    parser.add_argument("--compile", default="inductor", help="backend; empty: no such row")
    parser.add_argument("--tflops", type=float, default=0.0, help="the device's peak")
    arguments = parser.parse_args()
    recipe, _ = read_recipe(arguments.recipe, arguments.overrides)
    used, _ = consumption(recipe)
    device = choose_device(arguments.accelerator)
    precision = precision_on(device.type, recipe.train.precision)
    peak, source = peak_of(device, precision, arguments.tflops)
    print(f"{name_of(device)}; PyTorch {torch.__version__}; {recipe.name}, {precision}")
    print(
        f"{used.tflop:.3g} TFLOP for an item of {used.seconds:.2f} s; peak {peak:.3g} TFLOP/s {source}"
    )
    print(
        "| | batch | ms a step | items/s | GB | TFLOP/s | share of the peak |\n|---|---|---|---|---|---|---|"
    )
    costs: list[Cost] = []
    for name, changes in variants(recipe, arguments.compile).items():
        changed = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, **changes))
        try:
            costs.append(cost(name, changed, device, arguments.steps))
        except torch.OutOfMemoryError:
            print(f"| {name} | {recipe.train.batch_size} | out of memory | | | | |", flush=True)
        else:
            print(row(costs[-1], used, peak), flush=True)
    for line in gains(costs):
        print(line)


def variants(recipe: Recipe, backend: str) -> dict[str, dict[str, Any]]:
    """Settings of [train] that differ from the recipe's, by the names of rows."""
    rows: dict[str, dict[str, Any]] = {"recipe": {}}
    if backend and not recipe.train.compile:
        rows[f"compiled by {backend}"] = {"compile": backend}
    _, _, encoder = build_query_encoder(recipe)
    if blocks_of(build_task(recipe, build_book(recipe), BlankEncoder(encoder)).model):
        rows["activations computed again"] = {"checkpoint_activations": True}
    return rows


def consumption(recipe: Recipe) -> tuple[Consumption, int]:
    """What one item's step takes, and the model's sample rate in Hz."""
    _, _, encoder = build_query_encoder(recipe)
    task = build_task(recipe, build_book(recipe), BlankEncoder(encoder))
    task.model.train()
    batch, queries = noise_batch(task, recipe, encoder, "cpu")
    counter = FlopCounterMode(display=False)
    with counter:
        generator = torch.Generator().manual_seed(0)
        task.loss(task.model, batch, queries, generator, None).total.mean().backward()
    rate: int = task.model.sample_rate
    seconds = batch.mixture.shape[-1] / rate
    return Consumption(counter.get_total_flops() / 1e12, seconds), rate


def cost(name: str, recipe: Recipe, device: torch.device, num_steps: int) -> Cost:
    """The cost of a step of the recipe: what the training loop does with a batch."""
    from lightning_fabric import Fabric

    config = recipe.train
    precision = precision_on(device.type, config.precision)
    fabric = Fabric(accelerator=device.type, devices=1, precision=precision)
    _, _, encoder = build_query_encoder(recipe)
    task = build_task(recipe, build_book(recipe), BlankEncoder(encoder))
    ema = Ema(task.model, config.ema_decay)
    ema.model.to(device)
    if config.checkpoint_activations:
        checkpoint_activations(task.model)
    if config.compile:
        compile_networks(task.model, config.compile)
    learner = Learner(task.model, config, fabric)
    part_size = config.batch_size // config.accumulate
    batch, queries = noise_batch(task, recipe, encoder, str(device), part_size)
    part = partial(task.loss, batch=batch, queries=queries, discriminator=None)

    def step(number: int) -> None:
        generator = torch.Generator().manual_seed(number)
        losses = [partial(part, generator=generator)] * config.accumulate
        learner.improve(losses, config.accumulate, number)
        ema.update(task.model, number)

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = [timed(partial(step, number), device) for number in range(NUM_WARM_UP + num_steps)]
    median = statistics.median(seconds[NUM_WARM_UP:])
    size = part_size * config.accumulate
    return Cost(name, size, median, seconds[0], gigabytes_of(device))


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the work, all that it started on the device included."""
    synchronize(device)
    began = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - began


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def gigabytes_of(device: torch.device) -> float:
    """Peak memory of the tensors on a GPU since it was reset; elsewhere of this process so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return peak_megabytes() * 2**20 / 1e9


def peak_of(device: torch.device, precision: str, tflops: float) -> tuple[float, str]:
    """10^12 operations a second that the device does at most, and where the number is from."""
    if tflops:
        return tflops, "as given"
    name = name_of(device)
    known = [card for card in DATA_SHEETS if device.type == "cuda" and card in name]
    if known:
        return DATA_SHEETS[max(known, key=len)], "by its data sheet"
    return product_tflops(device, precision), "of a product of matrices"


def product_tflops(device: torch.device, precision: str, num_runs: int = 5) -> float:
    """10^12 operations a second of a product of large matrices in the recipe's precision."""
    dtype = torch.bfloat16 if "bf16" in precision else torch.float32
    size = MATRIX_SIZE.get(device.type, SMALL)
    matrix = torch.ones(size, size, dtype=dtype, device=device)
    seconds = min(timed(lambda: matrix @ matrix, device) for _ in range(num_runs))
    return 2 * size**3 / seconds / 1e12


def name_of(device: torch.device) -> str:
    """The card's name, or the processor's with the number of its threads that are used."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    described = Path("/proc/cpuinfo")
    lines = described.read_text("utf-8").splitlines() if described.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else "processor"
    return f"{model}, {torch.get_num_threads()} of {os.cpu_count()} threads"


def row(measured: Cost, used: Consumption, peak: float) -> str:
    """The row of the table."""
    tflops = used.tflop * measured.items_a_second
    return (
        f"| {measured.name} | {measured.batch_size} | {1e3 * measured.step_seconds:.1f} | "
        f"{measured.items_a_second:.3g} | {measured.gigabytes:.2f} | {tflops:.3g} | "
        f"{tflops / peak:.1%} |"
    )


def gains(costs: list[Cost]) -> list[str]:
    """How much faster or slower than the first row each other one is, and how long its first step took."""
    return [
        f"{other.name}: {costs[0].step_seconds / other.step_seconds:.2f} times as fast; "
        f"first step {other.start_seconds:.1f} s"
        for other in costs[1:]
    ]


if __name__ == "__main__":
    run_script(main)

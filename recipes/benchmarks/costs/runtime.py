"""Speed of published networks in each installed runtime.

    python -m qsep.recipes.benchmarks.costs.runtime [clipsep | audiosep | flowsep]

clipsep: the U-Net on the segments that the separator passes to it; audiosep: the U-Net on the whole
recording; flowsep: the whole separator. Networks have the published sizes and the same weights in every
runtime, random unless -m names a checkpoint. Runtimes take turns, so that other load on the machine affects
all of them. Ratios are relative to plain torch: eager, fp32, channels first, norms not fused.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qsep.separation.runtime.accelerate import RUNTIMES, accelerate

from ...errors import run_script
from .random_flowsep import random_separator

Calls = list[tuple[Tensor, ...]]
SECONDS = {"clipsep": 60, "audiosep": 60, "flowsep": 10}
COMBINATIONS = ("torch-fp32", "onnx-fp32", "openvino-fp32", "torch-bf16", "openvino-bf16")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("system", nargs="?", default="clipsep", choices=SYSTEMS)
    parser.add_argument("-m", "--model", type=Path, help="checkpoint folder of that system")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runtimes", nargs="+", default=COMBINATIONS, choices=COMBINATIONS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    seconds = arguments.seconds or SECONDS[arguments.system]
    network, calls = SYSTEMS[arguments.system](arguments.model, seconds)
    networks = {"plain": plain(network)}
    for combination in arguments.runtimes:
        name, precision = combination.split("-")
        if all(find_spec(package) for package in RUNTIMES[name]):
            networks[combination] = accelerated(network, name, precision)
    print(f"{arguments.system}, {seconds} s in {len(calls)} calls, {arguments.threads} threads")
    for line in compare(networks, calls, arguments.runs):
        print(line, flush=True)


def clipsep(folder: Path | None, seconds: int) -> tuple[nn.Module, Calls]:
    """CLIPSep's U-Net, and its inputs for this many seconds of audio."""
    separator = separator_of("clipsep", folder)
    segments = log_magnitudes(separator, seconds)
    return separator.network.unet, [(segment,) for segment in segments]


def audiosep(folder: Path | None, seconds: int) -> tuple[nn.Module, Calls]:
    """AudioSep's U-Net, and its input for this many seconds of audio."""
    separator = separator_of("resunet30", folder)
    num_frames = seconds * separator.sample_rate // separator.config.hop_samples
    num_frames -= num_frames % separator.unet.stride
    num_bins = separator.config.window_samples // 2
    query = F.normalize(normal(1, separator.query_dim), dim=-1)
    return separator.unet, [(normal(1, 1, num_frames, num_bins), query)]


def flowsep(folder: Path | None, seconds: int) -> tuple[nn.Module, Calls]:
    """All of FlowSep, and its input for this many seconds of audio."""
    separator = separator_of("flowsep", folder)
    return Whole(separator), [(0.1 * normal(1, 1, seconds * separator.sample_rate),)]


SYSTEMS: dict[str, Callable[[Path | None, int], tuple[nn.Module, Calls]]] = {
    "clipsep": clipsep,
    "audiosep": audiosep,
    "flowsep": flowsep,
}


class Whole(nn.Module):
    """A separator as a network from mixture to target, with a random query of 12 tokens."""

    def __init__(self, separator: Any) -> None:
        super().__init__()
        self.separator = separator

    def forward(self, mixture: Tensor) -> Tensor:
        """The target (b, 1, c, t) of a mixture (b, c, t)."""
        from qsep.queries.interface import QueryEmbedding

        width = self.separator.query_dim
        queries = QueryEmbedding(torch.zeros(1, 1, width), normal(1, 1, 12, width))
        target: Tensor = self.separator.separate(mixture, queries).target
        return target


def normal(*shape: int) -> Tensor:
    """Normal random numbers, the same each time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def separator_of(kind: str, folder: Path | None) -> Any:
    """The separator of a checkpoint, or one of the published size with random weights."""
    if folder is None:
        return random_separator(kind, {})
    from qsep.separation.storage.checkpoint import load_checkpoint

    return load_checkpoint(folder)[0]


def log_magnitudes(separator: Any, seconds: int) -> list[Tensor]:
    """Log-magnitude segments, each (1, 1, k, n), of this many seconds of noise."""
    from qsep.separation.signal.segments import segment_starts

    front = separator.spectrogram
    generator = torch.Generator().manual_seed(0)
    waveform = 0.1 * torch.randn(1, 1, seconds * separator.sample_rate, generator=generator)
    rows = front.rows(front.spectrum(waveform)).clamp_min(1e-10).log()[:, None]
    size = front.config.segment_frames
    starts = segment_starts(rows.shape[-1], size, front.geometry.step_frames)
    return [rows[..., start : start + size] for start in starts]


def plain(network: nn.Module) -> nn.Module:
    """A copy of the network without this package's optimisations, which training mode turns off."""
    copied = copy.deepcopy(network).train()
    for module in copied.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    copied.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # not annotated
    return copied


def accelerated(network: nn.Module, name: str, precision: str) -> nn.Module:
    """A copy of the network in a runtime, one of RUNTIMES, at a precision."""
    copied = copy.deepcopy(network)
    accelerate(copied, name, precision)
    return copied


@torch.inference_mode()
def compare(networks: dict[str, nn.Module], calls: Calls, runs: int) -> list[str]:
    """A line for each network: seconds, speed relative to "plain", largest error re the output's peak."""
    expected = networks["plain"](*calls[0])
    errors = {
        name: float((network(*calls[0]) - expected).abs().max() / expected.abs().max())
        for name, network in networks.items()
    }
    times: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(runs):
        for name, network in networks.items():
            start = time.perf_counter()
            for inputs in calls:
                network(*inputs)
            times[name].append(time.perf_counter() - start)
    return [
        f"{name:14} {median(runtimes):6.2f} s  "
        f"{median(ratios(times['plain'], runtimes)):5.2f} times as fast, error {errors[name]:.0e}"
        for name, runtimes in times.items()
    ]


def ratios(reference: list[float], measured: list[float]) -> list[float]:
    """Ratios of times turn by turn, for the machine's speed may change between turns."""
    return [first / second for first, second in zip(reference, measured, strict=True)]


if __name__ == "__main__":
    run_script(main)

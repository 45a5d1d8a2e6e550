"""CLIPSep's network alone, by every runtime there is: python -m qsep.recipes.benchmark_runtime.

60 s of sound in the segments that it is given at use; the same weights everywhere, random unless -m names
a checkpoint. Runtimes take turns, so what else the machine does falls on all of them. The ratio is to the
network as it stands in plain torch: eager, fp32, channels first.
"""

from __future__ import annotations

import argparse
import copy
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from qsep.separation import runtime

SECONDS = 60
COMBINATIONS = (
    ("torch", "fp32"),
    ("onnx", "fp32"),
    ("openvino", "fp32"),
    ("torch", "bf16"),
    ("openvino", "bf16"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("-m", "--model", type=Path, help="checkpoint folder of a clipsep")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=SECONDS)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    separator = clipsep(arguments.model)
    segments = log_magnitudes(separator, arguments.seconds)
    networks = {"plain": plain(separator.network.unet)}
    for name, precision in COMBINATIONS:
        if all(find_spec(package) for package in runtime.RUNTIMES[name]):
            networks[f"{name} {precision}"] = accelerated(separator.network.unet, name, precision)
    print(f"{arguments.seconds} s, {len(segments)} segments, {arguments.threads} threads")
    for line in compare(networks, segments, arguments.runs):
        print(line, flush=True)


def clipsep(folder: Path | None) -> Any:
    """The separator of a checkpoint, or one of the published size whose layers keep the signal's level."""
    from qsep.separation.checkpoint import load_checkpoint
    from qsep.separation.models.clipsep import Config, build

    if folder:
        return load_checkpoint(folder)[0]
    torch.manual_seed(0)
    separator = build(Config())
    for module in separator.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return separator.eval()


def log_magnitudes(separator: Any, seconds: int) -> list[Tensor]:
    """Segments (1, 1, k, n) that cover so many seconds of noise."""
    from qsep.separation.signal.segments import segment_starts

    front = separator.spectrogram
    generator = torch.Generator().manual_seed(0)
    waveform = 0.1 * torch.randn(1, 1, seconds * separator.sample_rate, generator=generator)
    rows = front.rows(front.spectrum(waveform)).clamp_min(1e-10).log()[:, None]
    size = front.config.segment_frames
    starts = segment_starts(rows.shape[-1], size, front.step_frames)
    return [rows[..., start : start + size] for start in starts]


def plain(network: nn.Module) -> nn.Module:
    own = copy.deepcopy(network)
    return own.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def accelerated(network: nn.Module, name: str, precision: str) -> nn.Module:
    own = copy.deepcopy(network)
    runtime.accelerate(own, name, precision)
    return own


@torch.inference_mode()
def compare(networks: dict[str, nn.Module], segments: list[Tensor], runs: int) -> list[str]:
    """One line a network: seconds, its ratio to the first, its largest error relative to the largest
    output."""
    expected = networks["plain"](segments[0])
    errors = {
        name: float((network(segments[0]) - expected).abs().max() / expected.abs().max())
        for name, network in networks.items()
    }
    times: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(runs):
        for name, network in networks.items():
            start = time.perf_counter()
            for segment in segments:
                network(segment)
            times[name].append(time.perf_counter() - start)
    return [
        f"{name:14} {median(own):6.2f} s  {median(ratios(times['plain'], own)):5.2f} times as fast, "
        f"error {errors[name]:.0e}"
        for name, own in times.items()
    ]


def ratios(reference: list[float], own: list[float]) -> list[float]:
    """Of one turn to the same turn, for the machine's mood changes between turns."""
    return [first / second for first, second in zip(reference, own, strict=True)]


if __name__ == "__main__":
    main()

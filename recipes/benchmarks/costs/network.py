"""What a network costs: parameters, multiply-accumulates, seconds, memory."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def num_parameters(network: nn.Module) -> int:
    """Those that are learned; of shared ones one."""
    return sum(weight.numel() for weight in network.parameters())


def count_macs(network: nn.Module, run: Callable[[], object]) -> int:
    """Multiply-accumulates of convolutions, matrix products, attention and LSTMs, as `run` uses the network.

    The network may lie on the meta device: then nothing is computed. Norms, activations, Fourier transforms
    and sums count nothing, as is usual. torch counts a multiply-accumulate as two operations.
    """
    counter = FlopCounterMode(display=False)
    learned = [weight for weight in network.parameters() if weight.requires_grad]
    for weight in learned:  # or the counter hangs hooks on what it thinks has a gradient
        weight.requires_grad_(False)
    try:
        with counted_lstms(network) as counted, counter:
            run()
    finally:
        for weight in learned:
            weight.requires_grad_(True)
    return counter.get_total_flops() // 2 + sum(counted)


@contextmanager
def counted_lstms(network: nn.Module) -> Iterator[list[int]]:
    """In place of each LSTM its count, 4 h (i + h) a step and direction, and an output of its shape:
    torch does not see into LSTMs."""
    counted: list[int] = []
    lstms = [module for module in network.modules() if isinstance(module, nn.LSTM)]

    def forward_of(lstm: nn.LSTM) -> Callable[..., tuple[Tensor, tuple[Tensor, Tensor]]]:
        def forward(rows: Tensor, state: Any = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            ways, inputs = 1 + lstm.bidirectional, lstm.input_size
            for _ in range(lstm.num_layers):
                steps = rows.shape[0] * rows.shape[1] * ways
                counted.append(steps * 4 * lstm.hidden_size * (inputs + lstm.hidden_size))
                inputs = ways * lstm.hidden_size
            last = rows.new_zeros(lstm.num_layers * ways, rows.shape[0], lstm.hidden_size)
            return rows.new_zeros(*rows.shape[:-1], inputs), (last, last)

        return forward

    for lstm in lstms:
        vars(lstm)["forward"] = forward_of(lstm)  # of the instance alone, before its class's
    try:
        yield counted
    finally:
        for lstm in lstms:
            del vars(lstm)["forward"]


def real_time_factor(run: Callable[[], object], seconds: float, repeats: int = 3) -> float:
    """Median seconds of a run over the seconds of sound it works on, after a run to warm up."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times) / seconds


def peak_megabytes() -> float:
    """The most memory that this process has had at once, so far."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20

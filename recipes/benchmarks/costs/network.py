"""Cost of a network: parameters, multiply-accumulates, time, memory."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

STATUS = Path("/proc/self/status")  # on Linux


def num_parameters(network: nn.Module) -> int:
    """Number of learned parameters; shared ones count once."""
    return sum(weight.numel() for weight in network.parameters())


def count_macs(network: nn.Module, run: Callable[[], object]) -> int:
    """Multiply-accumulates of convolutions, matrix products, attention and LSTMs in a call of `run`.

    run: uses the network, which may be on the meta device, where nothing is computed. As usual, norms,
    activations, Fourier transforms and sums are not counted.
    """
    counter = FlopCounterMode(display=False)
    learned = [weight for weight in network.parameters() if weight.requires_grad]
    for weight in learned:  # else the counter adds hooks for gradients
        weight.requires_grad_(False)
    try:
        with counted_lstms(network) as counted, counter:
            run()
    finally:
        for weight in learned:
            weight.requires_grad_(True)
    # torch counts a multiply-accumulate as two operations
    return counter.get_total_flops() // 2 + sum(counted)


@contextmanager
def counted_lstms(network: nn.Module) -> Iterator[list[int]]:
    """Replace the network's LSTMs by counters, for torch's counter does not see inside LSTMs.

    Yields the list of counts, 4 h (i + h) for each step, direction and layer; outputs are zeros.
    """
    counted: list[int] = []
    lstms = [module for module in network.modules() if isinstance(module, nn.LSTM)]

    def forward_of(lstm: nn.LSTM) -> Callable[..., tuple[Tensor, tuple[Tensor, Tensor]]]:
        def forward(rows: Tensor, state: Any = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            num_directions, inputs = 1 + lstm.bidirectional, lstm.input_size
            for _ in range(lstm.num_layers):
                steps = rows.shape[0] * rows.shape[1] * num_directions
                counted.append(steps * 4 * lstm.hidden_size * (inputs + lstm.hidden_size))
                inputs = num_directions * lstm.hidden_size
            last = rows.new_zeros(lstm.num_layers * num_directions, rows.shape[0], lstm.hidden_size)
            return rows.new_zeros(*rows.shape[:-1], inputs), (last, last)

        return forward

    for lstm in lstms:
        vars(lstm)["forward"] = forward_of(lstm)  # shadows the class's method on this instance
    try:
        yield counted
    finally:
        for lstm in lstms:
            del vars(lstm)["forward"]


def real_time_factor(run: Callable[[], object], seconds: float, repeats: int = 3) -> float:
    """Median seconds of a run divided by the seconds of audio that it processes, after a warm-up run."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times) / seconds


def peak_megabytes() -> float:
    """Peak memory of this process so far, in MiB."""
    if STATUS.is_file():  # getrusage's peak is also that of the parent at the time of the fork
        return int(STATUS.read_text("utf-8").partition("VmHWM:")[2].split()[0]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20

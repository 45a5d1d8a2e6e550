"""Random draws for flow matching: for each item of a batch noise, a time, and whether its queries are
dropped.

An item's draws depend on its id and the batch's generator only, so that its loss does not depend on the
other items or their order. The sources of an item share them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from qsep.queries.settings import configuration

from ..flow_matching import logit_normal_times, uniform_times

TIMES: dict[str, Callable[[int, torch.Generator], Tensor]] = {
    "uniform": uniform_times,
    "logit-normal": logit_normal_times,
}


@configuration
class FlowConfig:
    """times: distribution of tau, "uniform" or "logit-normal". sigma_min: standard deviation of the
    noise left at tau = 1. query_dropout: probability that a mixture's queries are dropped, needed for
    guidance."""

    times: str = "uniform"
    sigma_min: float = 1e-4
    query_dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.times not in TIMES:
            raise ValueError(f"times is {self.times!r}; expected one of {', '.join(TIMES)}")


@dataclass(frozen=True)
class Draws:
    """noise: (b, *shape), standard normal; tau: (b,), in [0, 1]; hidden: (b,) bool, whether the queries
    are dropped."""

    noise: Tensor
    tau: Tensor
    hidden: Tensor


def draw_items(
    ids: Sequence[str],
    shape: Sequence[int],
    config: FlowConfig,
    generator: torch.Generator,
    hide_by_batch: bool = False,
) -> Draws:
    """Draws for the items with these ids, on the CPU. hide_by_batch: queries are dropped for all items
    or for none."""
    device = generator.device
    base = int(torch.randint(1 << 53, (), generator=generator, device=device))
    batch_chance = torch.rand(1, generator=generator, device=device).cpu()
    noise, tau, chance = [], [], []
    for name in ids:
        digest = hashlib.sha256(f"{base} {name}".encode()).digest()
        item_generator = torch.Generator().manual_seed(int.from_bytes(digest[:7]))
        noise.append(torch.randn(tuple(shape), generator=item_generator))
        tau.append(TIMES[config.times](1, item_generator))
        chance.append(batch_chance if hide_by_batch else torch.rand(1, generator=item_generator))
    return Draws(torch.stack(noise), torch.cat(tau), torch.cat(chance) < config.query_dropout)

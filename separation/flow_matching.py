"""Rectified flow: straight paths between a start and an end, their velocities, and travelling along them.

A start is noise (or a mixture), an end what is wanted. A network learns the mean velocity of all paths
through a place at a time tau in [0, 1]; at use that field carries a new start to its end.
Liu et al., "Flow straight and fast" (2023); Lipman et al., "Flow matching" (2023), where a width sigma_min
is left of the noise at the end. Nothing here knows a network: a field is any function of place and time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

Field = Callable[[Tensor, float], Tensor]  # place (b, ...) and tau to velocity (b, ...)
Solver = Callable[[Field, Tensor, float, float], Tensor]


def place_at(start: Tensor, end: Tensor, tau: Tensor, sigma_min: float = 0.0) -> Tensor:
    """Where each path is at its time. start, end: (b, ...); tau: (b,). Lipman et al., eq. 22."""
    time = tau.reshape(-1, *[1] * (start.dim() - 1))
    return (1 - (1 - sigma_min) * time) * start + time * end


def velocity(start: Tensor, end: Tensor, sigma_min: float = 0.0) -> Tensor:
    """The derivative of `place_at` by tau, the same all along a path. Lipman et al., eq. 23."""
    return end - (1 - sigma_min) * start


def matching_error(found: Tensor, start: Tensor, end: Tensor, sigma_min: float = 0.0) -> Tensor:
    """Mean squared error of velocities found on these paths: (b, ...) to (b,)."""
    return (found - velocity(start, end, sigma_min)).square().flatten(1).mean(dim=1)


# Times to learn at.


def uniform_times(num: int, generator: torch.Generator) -> Tensor:
    """(num,), in [0, 1)."""
    return torch.rand(num, generator=generator)


def logit_normal_times(
    num: int, generator: torch.Generator, mean: float = 0.0, deviation: float = 1.0
) -> Tensor:
    """(num,), in (0, 1): more of them in the middle. Esser et al. (2024), eq. 19."""
    return (mean + deviation * torch.randn(num, generator=generator)).sigmoid()


def grid_times(num: int, num_steps: int, generator: torch.Generator) -> Tensor:
    """(num,), of 0, 1/num_steps, …: where num_steps Euler steps ask, so that a flow learned from pairs
    at these times alone is distilled to as many steps (Liu et al., for one step)."""
    return torch.randint(num_steps, (num,), generator=generator) / num_steps


# Travelling.


def step_times(num_steps: int, shift: float = 1.0) -> list[float]:
    """Times 0 = tau_0 < … < tau_n = 1: equally spaced, with shift > 1 denser near the start.

    Esser et al. (2024), eq. 23, whose time runs from end to start.
    """
    left = [1 - step / num_steps for step in range(num_steps + 1)]
    return [1 - shift * time / (1 + (shift - 1) * time) for time in left]


def euler(field: Field, place: Tensor, tau: float, after: float) -> Tensor:
    """One evaluation of the field a step, of first order."""
    return place + (after - tau) * field(place, tau)


def midpoint(field: Field, place: Tensor, tau: float, after: float) -> Tensor:
    """Two evaluations, second order."""
    middle = (tau + after) / 2
    return place + (after - tau) * field(euler(field, place, tau, middle), middle)


def heun(field: Field, place: Tensor, tau: float, after: float) -> Tensor:
    """Two evaluations, second order."""
    here = field(place, tau)
    there = field(place + (after - tau) * here, after)
    return place + (after - tau) * (here + there) / 2


SOLVERS: dict[str, Solver] = {"euler": euler, "midpoint": midpoint, "heun": heun}


def check_travel(solver: str, num_steps: int, shift: float = 1.0) -> None:
    """Raise ValueError for settings by which nothing can travel."""
    if solver not in SOLVERS:
        raise ValueError(f"solver is {solver!r}; expected one of {', '.join(SOLVERS)}")
    if num_steps < 1 or shift <= 0:
        raise ValueError(f"num_steps {num_steps} and shift {shift}: expected both positive")


def travel(field: Field, start: Tensor, times: Sequence[float], solver: Solver = euler) -> Tensor:
    """Carry start (b, ...) along the field from the first of the times to the last."""
    place = start
    for tau, after in pairwise(times):
        place = solver(field, place, tau, after)
    return place


def guided(with_query: Tensor, without: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance of velocities: 1 is the query's own field, more exaggerates what the query
    changes. Ho & Salimans (2022), eq. 6, with w = scale - 1."""
    return without + scale * (with_query - without)


@torch.no_grad()  # the ends are data for the next flow
def reflow_pairs(
    field: Field, start: Tensor, times: Sequence[float], solver: Solver = euler
) -> tuple[Tensor, Tensor]:
    """(start, the end that the field carries it to): learned again from such pairs, the paths no longer
    cross and straighten, until few steps suffice (Liu et al., "reflow")."""
    return start, travel(field, start, times, solver)

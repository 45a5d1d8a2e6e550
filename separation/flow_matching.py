"""Rectified flow: straight paths from noise to data, their velocities, and solvers that integrate them.

A path leads from x_0, noise (or a mixture), to x_1, the data; x_t is the point on it at time tau in [0, 1].
A network learns the mean velocity of all paths through a point; integrating it takes a new x_0 to its x_1.
Liu et al., "Flow straight and fast" (2023); Lipman et al., "Flow matching" (2023), where a width sigma_min
of the noise is left at the end. No network is needed here: a velocity is any function of x_t and tau.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

Velocity = Callable[[Tensor, float], Tensor]  # x_t (b, ...) and tau to the velocity there (b, ...)
Solver = Callable[[Velocity, Tensor, float, float], Tensor]


def point_at(start: Tensor, end: Tensor, tau: Tensor, sigma_min: float = 0.0) -> Tensor:
    """x_t of each path. start, end: (b, ...), x_0 and x_1; tau: (b,). Lipman et al., eq. 22."""
    time = tau.reshape(-1, *[1] * (start.dim() - 1))
    return (1 - (1 - sigma_min) * time) * start + time * end


def path_velocity(start: Tensor, end: Tensor, sigma_min: float = 0.0) -> Tensor:
    """The derivative of `point_at` by tau, the same all along a path. Lipman et al., eq. 23."""
    return end - (1 - sigma_min) * start


def matching_error(velocity: Tensor, start: Tensor, end: Tensor, sigma_min: float = 0.0) -> Tensor:
    """Mean squared error of velocities at points of these paths: (b, ...) to (b,)."""
    return (velocity - path_velocity(start, end, sigma_min)).square().flatten(1).mean(dim=1)


# Times at which a network is trained.


def uniform_times(num: int, generator: torch.Generator) -> Tensor:
    """(num,), in [0, 1)."""
    return torch.rand(num, generator=generator)


def logit_normal_times(
    num: int, generator: torch.Generator, mean: float = 0.0, deviation: float = 1.0
) -> Tensor:
    """(num,), in (0, 1): more of them in the middle. Esser et al. (2024), eq. 19."""
    return (mean + deviation * torch.randn(num, generator=generator)).sigmoid()


# Solvers.


def step_times(num_steps: int, shift: float = 1.0) -> list[float]:
    """Times 0 = tau_0 < … < tau_n = 1: equally spaced, with shift > 1 denser near the start.

    Esser et al. (2024), eq. 23, whose time runs from end to start.
    """
    left = [1 - step / num_steps for step in range(num_steps + 1)]
    return [1 - shift * time / (1 + (shift - 1) * time) for time in left]


def euler(velocity: Velocity, x_t: Tensor, tau: float, after: float) -> Tensor:
    """One evaluation of the velocity in each step, first order."""
    return x_t + (after - tau) * velocity(x_t, tau)


def midpoint(velocity: Velocity, x_t: Tensor, tau: float, after: float) -> Tensor:
    """Two evaluations, second order."""
    middle = (tau + after) / 2
    return x_t + (after - tau) * velocity(euler(velocity, x_t, tau, middle), middle)


def heun(velocity: Velocity, x_t: Tensor, tau: float, after: float) -> Tensor:
    """Two evaluations, second order."""
    here = velocity(x_t, tau)
    there = velocity(x_t + (after - tau) * here, after)
    return x_t + (after - tau) * (here + there) / 2


SOLVERS: dict[str, Solver] = {"euler": euler, "midpoint": midpoint, "heun": heun}


def check_solver(solver: str, num_steps: int, shift: float = 1.0) -> None:
    """Raise ValueError for settings that no path can be integrated by."""
    if solver not in SOLVERS:
        raise ValueError(f"solver is {solver!r}; expected one of {', '.join(SOLVERS)}")
    if num_steps < 1 or shift <= 0:
        raise ValueError(f"num_steps {num_steps} and shift {shift}: expected both positive")


def integrate(
    velocity: Velocity, start: Tensor, times: Sequence[float], solver: Solver = euler
) -> Tensor:
    """Integrate the velocity from start (b, ...) at the first of the times to the last: (b, ...)."""
    x_t = start
    for tau, after in pairwise(times):
        x_t = solver(velocity, x_t, tau, after)
    return x_t


def guided(with_query: Tensor, without: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance: scale 1 gives the velocity with the query, more exaggerates what it changes.

    All velocities are (b, ...). Ho & Salimans (2022), eq. 6, with w = scale - 1.
    """
    return without + scale * (with_query - without)

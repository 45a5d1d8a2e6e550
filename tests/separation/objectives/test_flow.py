"""qsep.separation.flow_matching against closed forms: normal distributions, whose velocity field is known.

Between N(0, 1) and N(m, s^2), drawn independently, the mean velocity of the paths through z at tau is
m + (tau s^2 - (1 - tau)) / ((1 - tau)^2 + tau^2 s^2) * (z - tau m); integrated, it maps z to m + s z.
"""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from tiny import rng
from torch import Tensor

from qsep.separation.flow_matching import (
    SOLVERS,
    Velocity,
    guided,
    heun,
    integrate,
    logit_normal_times,
    matching_error,
    midpoint,
    path_velocity,
    point_at,
    step_times,
    uniform_times,
)

MEAN, DEVIATION = 3.0, 0.5


def normal_field(mean: float = MEAN, deviation: float = DEVIATION) -> Velocity:
    def field(point: Tensor, tau: float) -> Tensor:
        variance = (1 - tau) ** 2 + tau**2 * deviation**2
        slope = (tau * deviation**2 - (1 - tau)) / variance
        return mean + slope * (point - tau * mean)

    return field


def starts(num: int = 4001) -> Tensor:
    return torch.randn(num, 1, generator=rng(3), dtype=torch.float64)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_exact_velocity_brings_noise_to_the_mean_and_the_variance(solver: str) -> None:
    end = integrate(normal_field(), starts(), step_times(200), SOLVERS[solver])
    # 200 steps: Euler is off by a few thousandths; the sample's own mean and deviation by 1/sqrt(4001)
    assert end.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert end.std().item() == pytest.approx(DEVIATION, abs=0.02)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2)])
def test_halving_the_step_divides_the_error_by_two_to_the_order(solver: str, order: int) -> None:
    """x' = x^2 cos tau, whose solution is 1 / (1 / start - sin tau). Velocities of normal distributions
    are unsuitable, since some errors of the first half of the path cancel those of the second."""
    start = torch.linspace(0.1, 0.8, 7, dtype=torch.float64)[:, None]
    exact = 1 / (1 / start - math.sin(1))
    ends = [
        integrate(
            lambda point, tau: point**2 * math.cos(tau), start, step_times(num), SOLVERS[solver]
        )
        for num in (64, 128, 256)
    ]
    errors = [(end - exact).abs().max().item() for end in ends]
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize(("solver", "evaluations"), [("euler", 1), ("midpoint", 2), ("heun", 2)])
def test_a_step_evaluates_the_velocity_as_often_as_declared(solver: str, evaluations: int) -> None:
    taus: list[float] = []

    def field(point: Tensor, tau: float) -> Tensor:
        taus.append(tau)
        return point

    integrate(field, starts(2), step_times(3), SOLVERS[solver])
    assert len(taus) == 3 * evaluations
    assert 0 <= min(taus)
    assert max(taus) <= 1


def test_one_step_of_midpoint_and_heun_matches_a_hand_calculation() -> None:
    # x' = x + tau, from 1 over a step of 1: midpoint 1 + (1.5 + 0.5), Heun 1 + (1 + (2 + 1)) / 2
    one = torch.ones(1, 1)
    assert midpoint(lambda point, tau: point + tau, one, 0.0, 1.0).item() == 3.0
    assert heun(lambda point, tau: point + tau, one, 0.0, 1.0).item() == 3.0
    # x' = x^2 distinguishes them: midpoint 1 + 1.5^2, Heun 1 + (1 + 2^2) / 2
    assert midpoint(lambda point, tau: point**2, one, 0.0, 1.0).item() == 3.25
    assert heun(lambda point, tau: point**2, one, 0.0, 1.0).item() == 3.5


@pytest.mark.parametrize("sigma_min", [0.0, 0.1])
def test_paths_lead_from_start_to_end_at_their_velocity(sigma_min: float) -> None:
    start, end = torch.randn(2, 5, 3, 2, generator=rng(1), dtype=torch.float64)
    tau = torch.rand(5, generator=rng(2), dtype=torch.float64)
    zero, one = torch.zeros(5), torch.ones(5)
    assert torch.equal(point_at(start, end, zero, sigma_min), start)
    torch.testing.assert_close(point_at(start, end, one, sigma_min), end + sigma_min * start)
    ahead = point_at(start, end, tau + 1e-3, sigma_min) - point_at(start, end, tau, sigma_min)
    torch.testing.assert_close(ahead / 1e-3, path_velocity(start, end, sigma_min))


def test_the_mean_velocity_of_paths_through_a_point_is_the_closed_form() -> None:
    """Least squares learns this mean: regress the velocities on the points at one time."""
    start = starts(200_001)
    end = MEAN + DEVIATION * torch.randn(start.shape, generator=rng(8), dtype=torch.float64)
    tau = 0.3
    point = point_at(start, end, torch.full((len(start),), tau))
    slope, offset = np.polyfit(point[:, 0].numpy(), path_velocity(start, end)[:, 0].numpy(), 1)
    field = normal_field()
    points = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    expected = field(points, tau)[:, 0]
    # 0.01: 1/sqrt(200,001), four times
    assert offset == pytest.approx(expected[0].item(), abs=0.01)
    assert offset + slope == pytest.approx(expected[1].item(), abs=0.01)


def test_the_error_of_the_true_velocity_is_zero_and_of_none_its_mean_square() -> None:
    start, end = torch.randn(2, 4, 3, 2, generator=rng(1))
    expected = path_velocity(start, end, 0.1)
    assert matching_error(expected, start, end, 0.1).tolist() == [0] * 4
    actual = matching_error(torch.zeros_like(start), start, end, 0.1)
    torch.testing.assert_close(actual, expected.square().mean(dim=(1, 2)))


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_step_times_run_from_zero_to_one(shift: float) -> None:
    times = step_times(7, shift)
    assert (len(times), times[0], times[-1]) == (8, 0.0, 1.0)
    assert all(before < after for before, after in pairwise(times))


def test_a_shift_of_three_makes_first_steps_short() -> None:
    # noise time 1/2 -> 3 * 0.5 / (1 + 2 * 0.5) = 3/4, tau = 1/4 (Esser et al., eq. 23)
    assert step_times(2, 3.0) == [0.0, 0.25, 1.0]
    assert step_times(4) == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_uniform_times_are_uniform() -> None:
    times = uniform_times(20_001, rng(4))
    assert 0 <= times.min()
    assert times.max() < 1
    # 1/sqrt(12 n) = 0.002 is one deviation of the mean
    assert times.mean().item() == pytest.approx(1 / 2, abs=0.01)
    assert times.var().item() == pytest.approx(1 / 12, abs=0.003)


def test_logit_normal_times_have_normal_logits() -> None:
    logits = logit_normal_times(20_001, rng(4), mean=0.5, deviation=2.0).double().logit()
    assert logits.mean().item() == pytest.approx(0.5, abs=0.05)
    assert logits.std().item() == pytest.approx(2.0, abs=0.05)


def test_guidance_of_zero_one_and_two() -> None:
    with_query, without = torch.randn(2, 3, 2, generator=rng(1))
    assert torch.equal(guided(with_query, without, 0.0), without)
    torch.testing.assert_close(guided(with_query, without, 1.0), with_query)
    torch.testing.assert_close(guided(with_query, without, 2.0), 2 * with_query - without)


def test_the_flow_learned_from_the_ends_of_a_flow_needs_one_step() -> None:
    """The exact field's ends are m + s start, one path through each point, so the next flow is linear."""
    start = starts()
    end = integrate(normal_field(), start, step_times(400), SOLVERS["heun"])
    torch.testing.assert_close(end, MEAN + DEVIATION * start, atol=1e-4, rtol=0)

    def learned(point: Tensor, tau: float) -> Tensor:
        """Least squares of the pairs' velocities on their points, by NumPy."""
        x_t = point_at(start, end, torch.full((len(start),), tau))
        fit = np.polyfit(x_t[:, 0].numpy(), path_velocity(start, end)[:, 0].numpy(), 1)
        return torch.from_numpy(np.polyval(fit, point.numpy()))

    fresh = torch.randn(1001, 1, generator=rng(12), dtype=torch.float64)
    once = integrate(learned, fresh, step_times(1))
    torch.testing.assert_close(once, MEAN + DEVIATION * fresh, atol=1e-3, rtol=0)
    before = integrate(normal_field(), fresh, step_times(1))
    assert (before - MEAN).std() < 1e-9  # one step of the first flow: all go to the mean

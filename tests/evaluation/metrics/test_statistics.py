"""qsep.evaluation.metrics.statistics against closed forms."""

import math

import numpy as np
import pytest

from qsep.evaluation.metrics.statistics import (
    binomial_interval,
    bootstrap_interval,
    describe,
    describe_groups,
    describe_rows,
)


def test_interval_of_many_normal_values_is_the_normal_interval() -> None:
    values = np.random.default_rng(4).normal(10.0, 3.0, 900)
    half = 1.96 * values.std() / 30  # sqrt(900); the bootstrap resamples with the biased deviation
    low, high = bootstrap_interval(values.tolist(), np.random.default_rng(5))
    # quantiles of 10,000 means of deviation 0.1 are good to about 0.003; 0.012 is four of those
    assert low == pytest.approx(values.mean() - half, abs=0.012)
    assert high == pytest.approx(values.mean() + half, abs=0.012)


def test_interval_of_two_values_spans_both() -> None:
    # a quarter of the resamples repeats each end, which is more than 2.5 %
    assert bootstrap_interval([1.0, 5.0], np.random.default_rng(6)) == (1.0, 5.0)


def test_interval_is_the_same_for_the_same_seed() -> None:
    values = [3.0, -1.0, 4.0, 1.0, 5.0]
    first, second = (bootstrap_interval(values, np.random.default_rng(7)) for _ in range(2))
    assert first == second


def test_interval_does_not_depend_on_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [2.0, 7.0, 1.0, 8.0, 2.0, 8.0, 1.0]
    whole = bootstrap_interval(values, np.random.default_rng(8))
    # 143 resamples a block.
    monkeypatch.setattr("qsep.evaluation.metrics.statistics.BLOCK_VALUES", 1001)
    assert bootstrap_interval(values, np.random.default_rng(8)) == whole


def test_describe_gives_count_mean_and_median() -> None:
    statistics = describe([1.0, 2.0, 9.0])
    assert (statistics.count, statistics.mean, statistics.median) == (3, 4.0, 2.0)


def test_one_value_has_no_interval_to_show() -> None:
    statistics = describe([-7.5])
    assert (statistics.low, statistics.high, statistics.interval) == (None, None, "-")
    assert describe([-7.5, -7.5]).interval == "[-7.50, -7.50]"


def test_rows_without_a_metric_do_not_count_for_it() -> None:
    rows = [{"sdr": value, "leak": None} for value in (2.0, 4.0, None)]
    described = describe_rows(rows, ["sdr", "leak"])
    assert list(described) == ["sdr"]
    assert (described["sdr"].count, described["sdr"].mean) == (2, 3.0)


def test_groups_are_sorted_and_keep_their_own_rows() -> None:
    rows = [{"label": label, "sdr": value} for label, value in (("z", 1.0), ("a", 5.0), ("z", 3.0))]
    described = describe_groups(rows, ["sdr"], "label")
    assert [(label, d["sdr"].count, d["sdr"].mean) for label, d in described.items()] == [
        ("a", 1, 5.0),
        ("z", 2, 2.0),
    ]


def probability_of_at_least(least: int, trials: int, proportion: float) -> float:
    return sum(
        math.comb(trials, k) * proportion**k * (1 - proportion) ** (trials - k)
        for k in range(least, trials + 1)
    )


@pytest.mark.parametrize(("successes", "trials"), [(0, 7), (7, 7), (1, 1), (3, 11), (60, 100)])
def test_ends_of_a_binomial_interval_leave_a_fortieth_on_either_side(
    successes: int, trials: int
) -> None:
    low, high = binomial_interval(successes, trials)
    if successes:
        assert probability_of_at_least(successes, trials, low) == pytest.approx(0.025, rel=1e-9)
    else:
        assert low == 0.0
    if successes < trials:
        at_most = 1 - probability_of_at_least(successes + 1, trials, high)
        assert at_most == pytest.approx(0.025, rel=1e-9)
    else:
        assert high == 1.0

"""CAPI-SDRi of one class, against values worked out by hand and against torchmetrics over all pairings."""

from itertools import combinations, permutations

import numpy as np
import pytest
import torch

from qsep.evaluation.metrics.class_aware import class_sdr_i

E1, E2, E3 = np.eye(3, 5)  # orthogonal, of energy 1
QUIET, LOUD = E1, 2 * E2
# Its SDR: 10 log10(1 / 4) to the quiet source, 10 log10(4 / 1) to the loud one.
MIXTURE = QUIET + LOUD
NEAR_QUIET = E1 + 0.1 * E3  # SDR 20 dB
NEAR_LOUD = 2 * E2 + 0.2 * E3  # SDR 20 dB
GAINS = [20 + 6.0206, 20 - 6.0206]
# float32's epsilon in energies of 0.01 and more
CLOSE = 1e-3


def test_sources_are_paired_with_their_estimates_in_any_order() -> None:
    counted = class_sdr_i([NEAR_LOUD, NEAR_QUIET], [QUIET, LOUD], MIXTURE)
    assert sorted(counted) == pytest.approx(sorted(GAINS), abs=CLOSE)


@pytest.mark.parametrize(
    ("estimates", "references", "expected"),
    [
        ([NEAR_QUIET], [LOUD, QUIET], [GAINS[0], 0]),  # one of two was missed
        ([NEAR_LOUD, NEAR_QUIET], [QUIET], [GAINS[0], 0]),  # one too many
        ([], [QUIET, LOUD], [0, 0]),
        ([NEAR_QUIET, LOUD, QUIET], [], [0, 0, 0]),
        ([], [], []),
    ],
)
def test_each_source_missed_or_too_many_counts_0_db(
    estimates: list[np.ndarray], references: list[np.ndarray], expected: list[float]
) -> None:
    assert class_sdr_i(estimates, references, MIXTURE) == pytest.approx(expected, abs=CLOSE)


def test_pairs_have_the_best_sdr_and_not_the_best_improvement() -> None:
    """0.6 of the mixture: 3.98 dB better than it for the quiet source, but nearer to the loud one."""
    estimate = 0.6 * MIXTURE
    counted = class_sdr_i([estimate], [QUIET, LOUD], MIXTURE)
    # 10 log10(4 / (0.8^2 + 0.6^2)) - 10 log10(4 / 1) = 0
    assert counted == pytest.approx([0, 0], abs=CLOSE)


@pytest.mark.parametrize(("num_estimates", "num_references"), [(2, 3), (3, 2), (3, 3), (1, 2)])
def test_the_pairing_is_the_best_of_all(num_estimates: int, num_references: int) -> None:
    rng = np.random.default_rng(num_estimates)
    scales = (1, 2, 0.5)[:num_references]
    references = [scale * rng.standard_normal(50) for scale in scales]
    mixture = np.sum(references, axis=0) + rng.standard_normal(50)
    estimates = [0.3 * mixture + 0.7 * references[i % num_references] for i in range(num_estimates)]
    best, expected = -np.inf, []
    num_pairs = min(num_estimates, num_references)
    for chosen in combinations(references, num_pairs):
        for ordered in permutations(estimates, num_pairs):
            sdrs = [ratio(e, r) for e, r in zip(ordered, chosen, strict=True)]
            if sum(sdrs) > best:
                gains = [sdr - ratio(mixture, r) for sdr, r in zip(sdrs, chosen, strict=True)]
                best, expected = sum(sdrs), gains
    counted = class_sdr_i(estimates, references, mixture)
    num_alone = max(num_estimates, num_references) - num_pairs
    assert sorted(counted) == pytest.approx(sorted([*expected, *[0] * num_alone]), abs=1e-6)


def ratio(estimate: np.ndarray, reference: np.ndarray) -> float:
    from torchmetrics.functional.audio import signal_noise_ratio  # takes seconds

    return float(signal_noise_ratio(torch.from_numpy(estimate), torch.from_numpy(reference)))

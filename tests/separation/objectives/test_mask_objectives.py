"""Objectives for masks: weighted cross-entropy, permutation- and noise-invariant training."""

import math
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from tiny import noise, rng
from torch import Tensor

from qsep.separation.objectives.mask_bce import (
    binary_masks,
    logit_bce,
    loudness_weight,
    mask_bce,
    ratio_masks,
)
from qsep.separation.objectives.means import mean_of_queried
from qsep.separation.objectives.noise_invariant import (
    NoiseConfig,
    gamma_at,
    noise_activity,
    noise_excess,
    noise_invariant,
    union,
)
from qsep.separation.objectives.permutation_invariant import best_pairing, permutation_invariant

B, S, J, K, N = 3, 4, 5, 6, 7  # all different, so that no two axes can be confused


def magnitudes(seed: int = 0) -> Tensor:
    return noise(B, S, K, N, seed=seed, scale=1.0).abs()


def binary(seed: int = 0, num_sources: int = S) -> Tensor:
    return (torch.rand(B, num_sources, K, N, generator=rng(seed)) > 0.5).float()


def weights(seed: int = 3) -> Tensor:
    return torch.rand(B, K, N, generator=rng(seed)) + 0.1


def pairwise(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """(b, s, j): weighted cross-entropy of each output's mask against each source's."""
    shape = (B, target.shape[1], logits.shape[1], K, N)
    return logit_bce(
        logits[:, None].expand(shape), target[:, :, None].expand(shape), weight[:, None, None]
    )


def test_ideal_ratio_masks_of_all_sources_sum_to_one() -> None:
    sources = magnitudes()
    sources[:, 1] = 0  # an absent one takes no share
    masks = ratio_masks(sources.sum(dim=1), sources)
    torch.testing.assert_close(masks.sum(dim=1), torch.ones(B, K, N))
    assert masks.min() >= 0
    assert masks[:, 1].max() == 0


def test_a_ratio_mask_is_the_share_within_its_own_mixture() -> None:
    """Not within the batch, as in the published code."""
    sources = torch.tensor([[3.0, 1.0], [0.5, 1.5], [7.0, 0.0]]).reshape(3, 2, 1, 1)
    masks = ratio_masks(sources.sum(dim=1), sources)
    expected = torch.tensor([[0.75, 0.25], [0.25, 0.75], [1.0, 0.0]])
    assert torch.equal(masks[..., 0, 0], expected)


def test_masks_of_silence_are_zero() -> None:
    silence = torch.zeros(B, S, K, N)
    assert ratio_masks(silence.sum(dim=1), silence).abs().max() == 0
    assert binary_masks(silence.sum(dim=1) + 1e-10, silence).abs().max() == 0


def test_a_binary_mask_is_on_where_a_source_has_over_half_of_the_mixture() -> None:
    mixture = torch.tensor([2.0, 2.0, 2.0, 0.5]).reshape(1, 1, 4)
    source = torch.tensor([1.1, 0.9, 1.0, 0.4]).reshape(1, 1, 1, 4)
    assert binary_masks(mixture, source).flatten().tolist() == [1, 0, 0, 1]


def test_louder_bins_weigh_more_within_limits() -> None:
    actual = loudness_weight(torch.tensor([0.0, math.e - 1, 1e6]))
    torch.testing.assert_close(actual, torch.tensor([1e-3, 1.0, 10.0]))


def test_weighted_cross_entropy_is_the_formula_by_hand() -> None:
    mask, target, weight = torch.rand(B, S, K, N, generator=rng(1)), binary(), weights()
    by_hand = np.zeros((B, S))
    for index in np.ndindex(B, S, K, N):
        m, y = float(mask[index]), float(target[index])
        w = float(weight[index[0], index[2], index[3]])
        by_hand[index[:2]] -= w * (y * math.log(m) + (1 - y) * math.log(1 - m)) / (K * N)
    expected = torch.from_numpy(by_hand).float()
    torch.testing.assert_close(mask_bce(mask, target, weight[:, None]), expected)
    torch.testing.assert_close(logit_bce(mask.logit(), target, weight[:, None]), expected)


def test_a_bin_that_is_wholly_wrong_costs_a_hundred_times_its_weight() -> None:
    ones = torch.ones(1, 1, 1)
    assert mask_bce(ones, 0 * ones, 0.3 * ones).item() == pytest.approx(30)


def test_the_mean_over_sources_is_over_queried_ones() -> None:
    values = torch.tensor([[1.0, 2.0, 6.0], [5.0, torch.nan, 1.0], [2.0, 3.0, 4.0]])
    queried = torch.tensor([[True, False, True], [True, False, False], [False] * 3])
    assert mean_of_queried(values, queried).tolist() == [3.5, 5.0, 0.0]


def test_the_best_pairing_is_the_cheapest_of_all() -> None:
    costs = noise(20, 3, 5, scale=1.0)
    for item, pairing in zip(costs, best_pairing(costs), strict=True):
        every = {p: sum(item[s, j] for s, j in enumerate(p)) for p in permutations(range(5), 3)}
        assert tuple(pairing.tolist()) == min(every, key=lambda p: float(every[p]))


def test_enumeration_and_assignment_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = noise(20, 4, 5, scale=1.0)
    enumerated = best_pairing(costs)
    monkeypatch.setattr("qsep.separation.objectives.permutation_invariant.MAX_ENUMERATED", 0)
    assert torch.equal(best_pairing(costs), enumerated)


def test_ten_sources_are_paired_in_no_time() -> None:
    order = torch.stack([torch.randperm(10, generator=rng(seed)) for seed in range(4)])
    costs = 1 - torch.nn.functional.one_hot(order, 10).float()
    assert torch.equal(best_pairing(costs), order)


def test_more_sources_than_outputs_are_refused() -> None:
    with pytest.raises(ValueError, match="3 sources cannot be paired with 2 outputs"):
        best_pairing(torch.zeros(1, 3, 2))


@pytest.mark.parametrize("num_sources", [2, 3, 4])
def test_permutation_invariant_cross_entropy_equals_asteroids(num_sources: int) -> None:
    losses = pytest.importorskip("asteroid.losses")
    logits = noise(B, num_sources, K, N, seed=5, scale=2.0)
    target, weight = binary(seed=6, num_sources=num_sources), weights()
    costs = pairwise(logits, target, weight)
    actual, pairing = permutation_invariant(costs)

    def of_all_pairs(estimates: Tensor, targets: Tensor) -> Tensor:
        # Asteroid: (b, estimate, target).
        return pairwise(estimates, targets, weight).transpose(1, 2)

    wrapper = losses.PITLossWrapper(of_all_pairs, pit_from="pw_mtx")
    expected, reordered = wrapper(logits, target, return_est=True)
    torch.testing.assert_close(actual.mean(), expected)
    chosen = logits.gather(1, pairing[..., None, None].expand_as(logits))
    assert torch.equal(chosen, reordered)


def test_each_mixture_chooses_its_own_order() -> None:
    """Which the recorded loss of PITSep does not show: both of its samples choose the same."""
    costs = torch.tensor([[[0.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
    paired, pairing = permutation_invariant(costs)
    assert pairing.tolist() == [[0, 1], [1, 0]]
    assert paired.tolist() == [[0, 0], [0, 0]]


def test_permuting_sources_permutes_the_permutation_invariant_costs() -> None:
    costs = noise(B, S, J, scale=1.0)
    order = [2, 0, 3, 1]
    paired, _ = permutation_invariant(costs)
    permuted, _ = permutation_invariant(costs[:, order])
    assert torch.equal(permuted, paired[:, order])


def noisy_costs(
    logits: Tensor,
    noise_logits: Tensor,
    target: Tensor,
    queried: Tensor | None = None,
    **settings: Any,
) -> Tensor:
    if queried is None:
        queried = torch.ones(logits.shape[:2], dtype=torch.bool)
    config = NoiseConfig(num_heads=noise_logits.shape[1], **settings)
    return noise_invariant(logits, noise_logits, target, weights(), queried, config)


@pytest.mark.parametrize("num_heads", [2, S, J])
def test_permuting_sources_leaves_the_noise_invariant_loss_unchanged(num_heads: int) -> None:
    logits, target = noise(B, S, K, N, seed=1, scale=2.0), binary()
    heads = noise(B, num_heads, K, N, seed=2, scale=2.0)
    costs = noisy_costs(logits, heads, target)
    for order in ([1, 0, 2, 3], [2, 3, 1, 0]):
        permuted = noisy_costs(logits[:, order], heads, target[:, order])
        torch.testing.assert_close(permuted.sum(dim=1), costs.sum(dim=1))


def test_permuting_noise_heads_leaves_the_noise_invariant_loss_unchanged() -> None:
    logits, target = noise(B, S, K, N, seed=1, scale=2.0), binary()
    heads = noise(B, J, K, N, seed=2, scale=2.0)
    costs = noisy_costs(logits, heads, target)
    torch.testing.assert_close(noisy_costs(logits, heads[:, [3, 0, 4, 2, 1]], target), costs)


@pytest.mark.parametrize("margin_weight", [0.0, 0.5])
def test_two_sources_and_two_heads_cost_what_the_papers_formula_says(margin_weight: float) -> None:
    logits, heads = noise(B, 2, K, N, seed=1, scale=2.0), noise(B, 2, K, N, seed=2, scale=2.0)
    target, weight = binary(num_sources=2), weights()

    def cost(source: int, head: int) -> Tensor:
        united = (logits[:, source].sigmoid() + heads[:, head].sigmoid()).clamp(max=1)
        cost = mask_bce(united, target[:, source], weight)
        alone = logit_bce(heads[:, head], target[:, source], weight)
        return cost + margin_weight * torch.relu(cost - alone + 0.1)

    straight, crossed = cost(0, 0) + cost(1, 1), cost(0, 1) + cost(1, 0)
    costs = noisy_costs(logits, heads, target, margin_weight=margin_weight, margin=0.1)
    torch.testing.assert_close(costs.sum(dim=1), torch.minimum(straight, crossed))


def test_with_fewer_heads_than_sources_the_sources_that_gain_most_have_them() -> None:
    """One head that is exactly what one source's mask lacks."""
    target = binary(num_sources=3)
    logits = (8 * target - 4).clone()
    logits[:, 1] = -4  # misses everything of source 1
    heads = (8 * target[:, 1:2] - 4).clone()
    costs = noisy_costs(logits, heads, target)
    without = logit_bce(logits, target, weights()[:, None])
    torch.testing.assert_close(costs[:, [0, 2]], without[:, [0, 2]])
    assert (costs[:, 1] < 0.1 * without[:, 1]).all()


def test_an_unqueried_source_leaves_its_noise_head_to_others() -> None:
    target = binary(num_sources=2)
    logits = torch.full((B, 2, K, N), -4.0)
    heads = torch.stack([8 * target[:, 0] - 4, torch.full((B, K, N), -4.0)], dim=1)
    queried = torch.tensor([[True, False]] * B)
    swapped = heads.flip(1)
    for arrangement in (heads, swapped):
        costs = noisy_costs(logits, arrangement, target, queried)
        assert (costs[:, 1] == 0).all()
        torch.testing.assert_close(
            costs[:, 0], noisy_costs(logits[:, :1], heads[:, :1], target[:, :1])[:, 0]
        )


def test_the_union_of_masks_is_their_sum_up_to_one() -> None:
    actual = union(torch.tensor([0.2, 0.7, 0.5]), torch.tensor([0.3, 0.7, 0.5]))
    torch.testing.assert_close(actual, torch.tensor([0.5, 1.0, 1.0]))


def test_noise_activity_is_the_mean_of_the_summed_masks() -> None:
    """Of the sum: two heads at an eighth each are a quarter, which is free at the paper's gamma."""
    logits = torch.full((2, 2, K, N), math.log(0.125 / 0.875))
    logits[1] = 0
    torch.testing.assert_close(noise_activity(logits), torch.tensor([0.25, 1.0]))
    torch.testing.assert_close(noise_excess(logits, 0.25), torch.tensor([0.0, 0.75]))


@pytest.mark.parametrize("batch_penalty", [False, True])
@pytest.mark.parametrize("gamma", [0.3, 0.5])
def test_the_penalty_on_noise_pushes_items_or_the_whole_batch(
    gamma: float, batch_penalty: bool
) -> None:
    """Items of activity 0.1 and 0.7, whose mean 0.4 lies between the two gammas."""
    levels = torch.tensor([0.1, 0.7])
    per_head = (levels / 2)[:, None, None, None].expand(2, 2, K, N)
    logits = per_head.logit().clone().requires_grad_()
    noise_excess(logits, gamma, batch_penalty).mean().backward()
    # d mean / d logit: each of the 2 items' K x N bins and 2 heads, by the slope of the sigmoid
    slope = per_head * (1 - per_head) / (2 * K * N)
    pushed = levels > gamma
    if batch_penalty:
        pushed = (levels.mean() > gamma).expand(2)
    torch.testing.assert_close(logits.grad, slope * pushed[:, None, None, None])


def test_gamma_moves_linearly_and_stays() -> None:
    config = NoiseConfig(gamma=0.1, gamma_start=0.5, gamma_steps=10)
    actual = [float(gamma_at(torch.tensor(step), config)) for step in (0, 5, 10, 99)]
    assert actual == pytest.approx([0.5, 0.3, 0.1, 0.1])
    assert gamma_at(torch.tensor(0), NoiseConfig(gamma=0.2)) == pytest.approx(0.2)


@pytest.mark.parametrize("gamma", [0.05, 0.25])
def test_noise_masks_on_clean_data_end_under_their_bound(gamma: float) -> None:
    """Learned freely, from masks that start wide open, where queried masks can explain everything."""
    target, weight = binary(num_sources=2), weights()
    logits = torch.zeros(B, 2, K, N, requires_grad=True)
    heads = torch.full((B, 2, K, N), 1.0, requires_grad=True)
    queried = torch.ones(B, 2, dtype=torch.bool)
    config = NoiseConfig(gamma=gamma)
    optimizer = torch.optim.Adam([logits, heads], lr=0.1, betas=(0.9, 0.9))
    for _ in range(120):
        optimizer.zero_grad()
        costs = noise_invariant(logits, heads, target, weight, queried, config)
        excess = noise_excess(heads, gamma)
        (costs.mean(dim=1) + config.weight * excess).sum().backward()
        optimizer.step()
    assert noise_activity(heads.detach()).max() < gamma + 0.02  # 0.02: a step of Adam beyond
    assert (logits.sigmoid() > 0.5).float().sub(target).abs().mean() < 0.2

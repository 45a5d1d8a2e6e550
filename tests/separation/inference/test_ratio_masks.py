"""Rules that divide a mixture among several estimates."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch
from tiny import kind_of, noise, rng, tiny_separator, unit_vectors
from tiny_settings import QUERY_DIM, RATE
from torch import Tensor, nn

from qsep.queries.constraints import Constraints
from qsep.queries.interface import QueryEmbedding
from qsep.separation.inference.chunks import geometry, separate_chunks
from qsep.separation.inference.constraints import separate_constrained
from qsep.separation.inference.ratio_masks import (
    NEITHER,
    RatioMasks,
    exclusive_masks,
    fitting_hop,
    ratio_masks,
    without,
)
from qsep.separation.interface import Capabilities, Separated

HOP = 128


def test_a_ratio_mask_is_the_targets_odds_against_all_sounds() -> None:
    """By counting: estimates are independent, two at once are impossible, and none has the odds NEITHER."""
    share, negatives = torch.rand(2, 3, 4, generator=rng(1)), torch.rand(3, 3, 4, generator=rng(2))
    actual = without(share, negatives)
    for target in range(2):
        sounds = [share[target], *negatives]
        weights = []
        for alone in (*range(4), None):  # which one says yes
            weight = torch.full((3, 4), 1.0 if alone is not None else NEITHER)
            for index, sound in enumerate(sounds):
                weight = weight * (sound if index == alone else 1 - sound)
            weights.append(weight)
        expected = weights[0] / torch.stack(weights).sum(dim=0)
        torch.testing.assert_close(actual[target], expected, atol=1e-5, rtol=1e-4)


def test_half_a_bin_against_no_negative_keeps_two_thirds() -> None:
    """By hand: odds 1 of the target, none of the negative, a half of neither, 1 / (1 + 1 / 2)."""
    kept = without(torch.full((1, 1, 1), 0.5), torch.zeros(1, 1, 1))
    assert kept.item() == pytest.approx(2 / 3, rel=1e-6)


def test_a_negative_only_attenuates_and_silences_bins_that_are_all_its_own() -> None:
    share = torch.linspace(0, 0.9, 7)[None, None]
    none, whole = torch.zeros(1, 1, 7), torch.ones(1, 1, 7)
    assert (without(share, whole) < 2e-3).all()
    louder = [without(share, level * whole) for level in (0.0, 0.2, 0.6, 0.9)]
    for before, after in pairwise(louder):
        assert (after <= before).all()
    assert torch.equal(without(0 * share, none), none)


def test_masks_that_sum_to_at_most_one_are_kept_and_others_scaled() -> None:
    share = torch.rand(3, 5, 7, generator=rng(3))
    total, actual = share.sum(dim=0), exclusive_masks(share)
    assert (total > 1).any()
    assert (total < 1).any()
    assert (actual.sum(dim=0) <= 1 + 1e-6).all()
    torch.testing.assert_close(actual[:, total < 1], share[:, total < 1])
    torch.testing.assert_close(actual / share, (1 / total.clamp_min(1)).expand(3, -1, -1))


def test_masks_of_silence_are_zero_and_channels_share_a_mask() -> None:
    spec = torch.view_as_complex(noise(2, 5, 7, 2))
    spec[:, 1] = 0
    estimates = torch.stack([0.5 * spec, 3 * spec])
    actual = ratio_masks(estimates, spec)
    expected = torch.tensor([0.5, 1.0])[:, None, None] * (spec[0].abs() > 0)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("num_samples", [1, 127, 3001])
def test_targets_are_the_mixture_masked_in_scipys_stft(num_samples: int) -> None:
    mixture, estimates = noise(2, num_samples), noise(2 + 1, 2, num_samples, seed=1)
    actual = RatioMasks(1, True, HOP)(mixture, estimates)
    size = {"window": np.sqrt(scipy.signal.get_window("hann", 2 * HOP)), "nperseg": 2 * HOP}
    padded = ((0, 0), (0, -num_samples % HOP + 2 * HOP))

    def spectrum(waveform: Any) -> Any:
        return scipy.signal.stft(np.pad(waveform, padded), **size)[2]

    whole = spectrum(mixture.numpy())
    level = np.sqrt((np.abs(whole) ** 2).sum(axis=0)) + 1e-30
    share = np.array(
        [np.sqrt((np.abs(spectrum(e.numpy())) ** 2).sum(axis=0)) / level for e in estimates]
    ).clip(0, 1)
    odds = share.clip(0, 1 - 1e-4)
    odds = odds / (1 - odds)
    kept = odds[:2] / (odds[:2] + NEITHER + odds[2])
    kept = kept / np.maximum(kept.sum(axis=0), 1)
    expected = scipy.signal.istft(kept[:, None] * whole, **size)[1][..., :num_samples]
    np.testing.assert_allclose(actual, expected, atol=2e-6)


@pytest.mark.parametrize(
    ("rate", "stride", "hop"),
    [(32000, 10240, 640), (11025, 65536, 256), (8000, 8, 160), (8000, 7, 161), (8000, 997, 997)],
)
def test_the_rules_frames_fit_the_separators(rate: int, stride: int, hop: int) -> None:
    assert fitting_hop(rate, stride) == hop


@pytest.mark.parametrize("kind", ["band_unet", "clipsep", "convtasnet", "flowsep"])
def test_chunks_give_what_the_whole_gives(kind: str) -> None:
    separator = tiny_separator(kind)
    rule = RatioMasks(2, True, fitting_hop(RATE, separator.stride_samples))
    cut = geometry(separator, 1.0, rule)
    mixture, pooled = noise(2, 3 * cut.step // 2 + 77), unit_vectors(3 + 2, QUERY_DIM, seed=9)
    blocks = mixture.split(1511, dim=-1)
    joined = torch.cat(
        list(separate_chunks(separator, blocks, QueryEmbedding(pooled), cut, rule)), dim=-1
    )
    queries = QueryEmbedding(pooled[None].expand(2 if separator.num_channels else 1, -1, -1))
    with torch.inference_mode():
        if separator.num_channels:
            estimates = (
                separator.separate(mixture[:, None], queries).target[:, :, 0].transpose(0, 1)
            )
        else:
            estimates = separator.separate(mixture[None], queries).target[0]
        whole = rule(mixture, estimates)
    assert joined.shape == (3, *mixture.shape)
    # float32 sums in another order, of networks in a row and of quotients of quiet bins
    torch.testing.assert_close(joined, whole, atol=2e-4 if kind == "flowsep" else 2e-5, rtol=0)


class Rectifier(nn.Module):
    """A separator that sees no neighbours: positive samples for the first query, negative for the second."""

    sample_rate, num_channels, stride_samples, context_samples = RATE, None, HOP, 0
    capabilities = Capabilities()

    def separate(
        self, mixture: Tensor, queries: QueryEmbedding, generator: Any = None
    ) -> Separated:
        target = torch.stack([mixture.clamp(min=0), mixture.clamp(max=0)], dim=1)
        return Separated(target, mixture[:, None] - target)


def test_chunks_have_the_rules_frames_beyond_the_separators_context_on_both_sides() -> None:
    """A sample of the rule's output depends on both frames over it, 2 hops to each side."""
    separator: Any = Rectifier()
    rule = RatioMasks(1, False, HOP)
    cut = geometry(separator, 8 * HOP / RATE, rule)
    mixture, queries = noise(2, 5 * cut.step + 77), QueryEmbedding(unit_vectors(2, QUERY_DIM))
    joined = torch.cat(list(separate_chunks(separator, [mixture], queries, cut, rule)), dim=-1)
    whole = rule(mixture, separator.separate(mixture[None], queries).target[0])
    # 1e-6: transforms of other numbers of frames
    torch.testing.assert_close(joined, whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["band_unet", "convtasnet"])
def test_parts_of_the_mixture_stay_unchanged(kind: str) -> None:
    separator, mixture = tiny_separator(kind), noise(2, 3001).numpy()
    queries = QueryEmbedding(unit_vectors(3, QUERY_DIM))
    plain, consistent = (
        list(separate_constrained(separator, [mixture], RATE, queries, constraints))
        for constraints in (Constraints(), Constraints(consistent=True))
    )
    for (_, actual), (_, expected) in zip(consistent, plain, strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("kind", ["band_unet", "flowsep"])
def test_targets_of_several_queries_never_exceed_the_mixture(kind: str) -> None:
    """Frames of the rule: each bin of the sum is at most the mixture's, where single ones were too loud."""
    separator, mixture = tiny_separator(kind_of(kind)), noise(2, 6000).numpy()
    queries = QueryEmbedding(unit_vectors(4, QUERY_DIM))
    hop = fitting_hop(RATE, separator.stride_samples)

    def energies(constraints: Constraints) -> tuple[float, float, float]:
        pairs = list(separate_constrained(separator, [mixture], RATE, queries, constraints))
        targets = np.concatenate([targets for _, targets in pairs], axis=-1)
        whole = np.abs(scipy.signal.stft(mixture, nperseg=2 * hop)[2])
        taken = np.abs(scipy.signal.stft(targets, nperseg=2 * hop)[2]).sum(axis=0)
        rest = np.square(mixture - targets.sum(axis=0)).sum()
        excess = np.square(np.maximum(taken - whole, 0)).sum() / np.square(whole).sum()
        return float(excess), float(rest), float(np.square(mixture).sum())

    before, _, _ = energies(Constraints())
    after, rest, whole = energies(Constraints(exclusive=True, consistent=True))
    assert before > 0.05
    # Other frames than the rule's, whose neighbouring bins and frames may have shared otherwise
    assert after < 0.05 * before
    assert rest < whole

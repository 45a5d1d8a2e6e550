"""The three losses of bi-modal weak supervision against values worked out by hand, and how they add up."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny import mixture_batch, noise, rng, tiny_separator, unit_vectors
from tiny_settings import QUERY_DIM, RATE
from torch import Tensor

from qsep.queries.interface import QueryEmbedding, SoundEncoder
from qsep.separation.interface import MixtureBatch
from qsep.separation.objectives.weak_supervision import (
    WeakSupervisionConfig,
    agreement,
    consistency,
    mix_and_separate,
)
from qsep.separation.signal.spectra import rms_magnitude

E = math.e


class StubJudge:
    """Levels in eight equal stretches, as directions; `received` lists its inputs."""

    sample_rate = 2 * RATE

    def __init__(self) -> None:
        self.received: list[Tensor] = []
        self.basis = unit_vectors(8, QUERY_DIM, seed=21)

    def embed_sound(self, waveform: Tensor) -> Tensor:
        self.received.append(waveform.detach())
        size = waveform.shape[-1] // 8
        levels = waveform[:, : 8 * size].unflatten(-1, (8, size)).square().mean(dim=-1)
        return F.normalize((levels + 1e-8).log() @ self.basis, dim=-1)

    def similarity_scale(self) -> float:
        return 3.0


def weak_batch(num_samples: int = 3001) -> tuple[MixtureBatch, QueryEmbedding]:
    """Three items: two mixtures of two parts each; the same, but one part of the second is not named; and
    three single sounds. Six slots."""
    sources = torch.zeros(3, 6, 1, num_samples)
    sources[:, :2] = noise(3, 2, 1, num_samples, seed=3)
    sources[2, 2] = noise(1, num_samples, seed=4)
    part_of = torch.tensor([[-1, -1, 0, 0, 1, 1]] * 2 + [[-1] * 6])
    known, pooled = mixture_batch()[0].queries[0][0], unit_vectors(3, 6, QUERY_DIM, seed=8)
    queries = [[known] * 6, [*[known] * 5, None], [*[known] * 3, *[None] * 3]]
    batch = MixtureBatch(sources.sum(dim=1), sources, queries, RATE, ["a", "b", "c"], part_of)
    return batch, QueryEmbedding(pooled)


def judged_separator(**weak: Any) -> Any:
    separator = tiny_separator("bimodal", weak=weak)
    separator.sound_encoder = StubJudge()
    return separator


def test_mixed_sources_are_compared_where_the_mixture_is_loud() -> None:
    """Weights log(1 + (e - 1)) = 1, log 1 at least 1e-3, log(1 + e^20) at most 10; a mean over six bins."""
    mixture = torch.tensor([[[E - 1, 0.0, math.exp(20)], [E - 1, E - 1, E - 1]]])
    sources = torch.zeros(1, 2, 2, 3)
    estimates = sources.clone()
    estimates[0, 0] = torch.tensor([[2.0, 5.0, 0.5], [-1.0, 0.0, 0.0]])
    estimates[0, 1] = 100.0
    known = torch.tensor([[True, False]])
    actual = mix_and_separate(estimates, sources, mixture, known)
    expected = (1 * 2 + 1e-3 * 5 + 10 * 0.5 + 1 * 1) / 6
    assert actual.tolist() == pytest.approx([expected], rel=1e-6)
    both = mix_and_separate(estimates, sources, mixture, torch.tensor([[True, True]]))
    second = 100 * (4 * 1 + 1e-3 + 10) / 6
    assert both.tolist() == pytest.approx([expected + second], rel=1e-6)


def test_parts_are_compared_with_their_whole_by_their_sum() -> None:
    """Two wholes of one and two parts, one of which counts half; a third without parts costs nothing."""
    wholes = torch.full((1, 3, 1, 2), E - 1)
    parts = torch.tensor([[[[1.0, 2.0]], [[0.5, 0.5]], [[3.0, 1.0]]]])
    share = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.5, 0.0]]])
    first = (abs(1 - (E - 1)) + abs(2 - (E - 1))) / 2
    second = (abs(0.5 + 1.5 - (E - 1)) + abs(0.5 + 0.5 - (E - 1))) / 2
    assert consistency(parts, share, wholes).tolist() == pytest.approx([first + second], rel=1e-6)


def test_loud_bins_are_those_of_the_whole_not_of_the_mixture() -> None:
    wholes = torch.tensor([[[[E - 1, 0.0]]]])
    actual = consistency(torch.zeros(1, 1, 1, 2), torch.ones(1, 1, 1), wholes)
    assert float(actual) == pytest.approx((E - 1) / 2, rel=1e-6)
    far = consistency(torch.full((1, 1, 1, 2), 7.0), torch.ones(1, 1, 1), wholes)
    assert float(far) == pytest.approx(((7 - (E - 1)) + 1e-3 * 7) / 2, rel=1e-6)


def test_a_sound_agrees_with_its_own_phrase_among_all_of_the_batch() -> None:
    """Cross-entropies of softmax(2 cos) with cosines 1, 0 and 0.6."""
    sounds = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    phrases = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    cosines = ((1.0, 0.0, 1.0), (0.0, 1.0, 0.0), (0.6, 0.8, 0.6))
    expected = [
        math.log(sum(math.exp(2 * cosine) for cosine in row)) - 2 * row[index]
        for index, row in enumerate(cosines)
    ]
    assert agreement(sounds, phrases, 2.0).tolist() == pytest.approx(expected, rel=1e-6)


def test_equal_phrases_can_be_left_out_of_the_negatives() -> None:
    """Each of the two equal phrases is as right: half of the log likelihood of either."""
    sounds = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    phrases = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    actual = agreement(sounds, phrases, 2.0, alike_cosine=0.99)
    total = 2 * math.exp(2.0) + 1
    assert float(actual[0]) == pytest.approx(math.log(total) - 2.0, rel=1e-6)
    third = 2 * math.exp(1.2) + math.exp(1.6)
    assert float(actual[2]) == pytest.approx(math.log(third) - 1.2, rel=1e-6)


def test_losses_of_parts_wait_and_then_rise() -> None:
    config = WeakSupervisionConfig(warmup_steps=10, ramp_steps=4)
    assert [config.ramp(step) for step in (0, 9, 10, 11, 14, 99)] == [0, 0, 0, 0.25, 1, 1]
    assert WeakSupervisionConfig(warmup_steps=3).ramp(3) == 1


def test_the_total_is_the_weighted_sum_of_the_three_losses() -> None:
    separator, (batch, embedding) = judged_separator(), weak_batch()
    assert isinstance(separator.sound_encoder, SoundEncoder)
    with torch.no_grad():
        output = separator.loss(batch, embedding, rng(0))
    terms = output.terms
    total = 5 * terms["separation"] + 5 * terms["consistency"] + 0.5 * terms["agreement"]
    torch.testing.assert_close(output.total, total)
    assert terms["consistency"][2] == terms["agreement"][2] == 0
    assert (terms["agreement"][:2] > 0).all()
    assert (terms["separation"] > 0).all()


def test_the_terms_are_those_of_the_masks_of_the_mixture_of_mixtures() -> None:
    separator, (batch, embedding) = judged_separator(), weak_batch()
    with torch.no_grad():
        terms = separator.loss(batch, embedding, rng(0)).terms
        target = separator.separate(batch.mixture, embedding)
        magnitude = rms_magnitude(separator.masker.spectrum(batch.mixture))
        sources = rms_magnitude(separator.masker.spectrum(batch.sources))
        items = torch.arange(3).repeat_interleave(6)
        masks = separator.logits(
            magnitude, embedding.map(lambda e: e.flatten(0, 1)), items
        ).sigmoid()
        estimates = masks.unflatten(0, (3, 6)) * magnitude[:, None]
    assert target.target.shape == (3, 6, 1, 3001)
    weight = magnitude.log1p().clamp(1e-3, 10)
    expected = [
        sum(
            float((weight[item] * (estimates[item, s] - sources[item, s]).abs()).mean())
            for s in range(number)
        )
        for item, number in enumerate((2, 2, 3))
    ]
    assert terms["separation"].tolist() == pytest.approx(expected, rel=1e-4)
    wholes = sources[:2, :2]
    sums = torch.stack(
        [estimates[:2, 2] + estimates[:2, 3], estimates[:2, 4] + estimates[:2, 5]], dim=1
    )
    sums[1, 1] -= estimates[1, 5]  # not named
    distance = (wholes.log1p().clamp(1e-3, 10) * (sums - wholes).abs()).mean(dim=(2, 3)).sum(dim=1)
    torch.testing.assert_close(terms["consistency"][:2], distance, rtol=1e-4, atol=1e-6)


def test_the_sound_encoder_gets_every_part_at_its_own_rate_source_by_source() -> None:
    separator, (batch, embedding) = judged_separator(), weak_batch()
    with torch.no_grad():
        terms = separator.loss(batch, embedding, rng(0)).terms["agreement"]
    (received,) = separator.sound_encoder.received
    assert received.shape == (7, 2 * 93 * 32)  # windows are short: up to the last of the whole hops
    embedded = separator.sound_encoder.embed_sound(received)
    phrases = torch.cat([embedding.pooled[0, 2:], embedding.pooled[1, 2:5]])
    first, second = [0, 1, 4, 5], [2, 3, 6]
    costs = torch.zeros(7)
    for rows in (first, second):
        logits = 3 * embedded[rows] @ phrases[rows].T
        costs[rows] = -logits.log_softmax(dim=1).diagonal()
    expected = torch.stack([costs[:2].mean() + costs[2:4].mean(), costs[4:6].mean() + costs[6]])
    torch.testing.assert_close(terms[:2], expected)


def test_gradients_pass_through_the_sound_encoder() -> None:
    separator, (batch, embedding) = judged_separator(separation=0.0, consistency=0.0), weak_batch()
    separator.train()
    separator.loss(batch, embedding, rng(0)).total.mean().backward()
    for name, weight in separator.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
    assert separator.project.weight.grad.abs().max() > 0


def test_the_sound_encoder_is_not_run_before_the_losses_of_parts_count() -> None:
    separator, (batch, embedding) = judged_separator(warmup_steps=1), weak_batch()
    separator.train()
    first = separator.loss(batch, embedding, rng(0))
    assert not separator.sound_encoder.received
    assert set(first.terms) == {"separation"}
    again = separator.loss(batch, embedding, rng(0))
    assert len(separator.sound_encoder.received) == 1
    assert "agreement" in again.terms


def test_without_a_sound_encoder_the_error_says_what_is_needed() -> None:
    separator, (batch, embedding) = tiny_separator("bimodal"), weak_batch()
    with pytest.raises(ValueError, match="need an encoder of both text and sound"):
        separator.loss(batch, embedding, rng(0))
    silent = replace(separator.config, weak=WeakSupervisionConfig(agreement=0.0))
    separator.config = silent
    assert separator.loss(batch, embedding, rng(0)).total.isfinite().all()


def test_tokens_that_are_not_real_change_nothing() -> None:
    separator = tiny_separator("bimodal", token_dim=9)
    tokens = noise(1, 2, 4, 9, seed=5, scale=1.0)
    mask = torch.tensor([[[True, True, False, False], [True] * 4]])
    embedding = QueryEmbedding(unit_vectors(1, 2, QUERY_DIM, seed=6), tokens, mask)
    other = replace(embedding, tokens=torch.where(mask[..., None], tokens, 7.0))
    mixture = noise(1, 1, 1601)
    with torch.inference_mode():
        first = separator.separate(mixture, embedding).target
        assert torch.equal(separator.separate(mixture, other).target, first)
        changed = replace(embedding, tokens=2 * tokens)
        assert (separator.separate(mixture, changed).target - first).abs().max() > 1e-6
    with pytest.raises(ValueError, match="their encoder gives none; use an encoder that does"):
        separator.separate(mixture, QueryEmbedding(embedding.pooled))

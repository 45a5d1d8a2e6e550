"""Constraints that a network reads itself: how training draws them, and that they resolve a vague query."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny import mixture_batch, noise, rng, tiny_separator, unit_vectors
from tiny_settings import QUERY_DIM, RATE, SETTINGS
from torch import Tensor

from qsep.evaluation.metrics.sdr import si_sdr
from qsep.queries.constraints import Constraints
from qsep.queries.interface import Query, QueryEmbedding, TextQuery
from qsep.recipes.data.mixtures.constraints import activity, conditioned
from qsep.separation.components import build_separator
from qsep.separation.inference.constraints import separate_constrained
from qsep.separation.interface import Capabilities, MixtureBatch

BOTH = Capabilities(negatives=True, spans=True)


def test_separators_without_learned_constraints_are_trained_without() -> None:
    batch, queries = mixture_batch()
    generator = rng(1)
    assert conditioned(queries, batch, tiny_separator().capabilities, generator) is queries
    assert torch.equal(generator.get_state(), rng(1).get_state())


def test_a_negative_is_the_query_of_another_source_that_sounds() -> None:
    batch, queries = mixture_batch()  # b = 4, s = 3; (1, 0) is not queried, (2, 2) is absent
    seen = set()
    for seed in range(60):
        constrained = conditioned(queries, batch, BOTH, rng(seed))
        assert constrained.negative is not None
        assert constrained.negative.pooled.shape == (4, 3, 1, QUERY_DIM)
        for item in range(4):
            for source in range(3):
                negative = constrained.negative.pooled[item, source, 0]
                equal = [torch.equal(negative, query) for query in queries.pooled[item]]
                seen.add((item, source, equal.index(True) if any(equal) else None))
                assert any(equal) or not negative.any()
    others = {0: {0, 1, 2}, 1: {1, 2}, 2: {0, 1}, 3: {0, 1, 2}}
    expected = {
        (item, source, other)
        for item, sounding in others.items()
        for source in range(3)
        for other in (*(sounding - {source}), None)
    }
    assert seen == expected


def test_half_of_the_queries_get_a_negative() -> None:
    batch, queries = mixture_batch()
    complete = [0, 3]  # items of which all three sources sound
    constrained = [conditioned(queries, batch, BOTH, rng(seed)).negative for seed in range(200)]
    drawn = [each.pooled[complete].any(dim=-1) for each in constrained if each is not None]
    # 1,200 draws, whose mean has a standard deviation of 0.0144
    assert torch.stack(drawn).double().mean().item() == pytest.approx(0.5, abs=0.06)


def test_activity_is_one_from_150_ms_before_a_sound_to_150_ms_after_it() -> None:
    sources = torch.zeros(2, 3, 2, 8003)
    sources[1, 2, 1, 4000:4400] = 0.1  # one block of 50 ms at 8 kHz
    sources[0, 1, 0, 10] = 1.0
    sources[0, 1, 1, 6000] = 0.009  # 41 dB below: silence
    actual = activity(sources, RATE)
    assert actual.shape == (2, 3, 8003)
    expected = torch.ones(2, 3, 8003)
    expected[1, 2, : 4000 - 1200] = expected[1, 2, 4400 + 1200 :] = 0
    expected[0, 1, 4 * 400 :] = 0
    assert torch.equal(actual, expected)


def tones(num: int, seed: int) -> MixtureBatch:
    """A low and a high tone, one of them until 60 % of 0.7 s and the other from 40 % on."""
    generator, num_samples = rng(seed), 5600
    hz = torch.tensor([600.0, 2200.0]) * (0.8 + 0.4 * torch.rand(num, 2, generator=generator))
    time = torch.arange(num_samples) / RATE
    sources = 0.1 * torch.sin(2 * np.pi * hz[..., None] * time)
    late = torch.randint(2, (num,), generator=generator)
    for item in range(num):
        sources[item, late[item], : int(0.4 * num_samples)] = 0
        sources[item, 1 - late[item], int(0.6 * num_samples) :] = 0
    sources = sources[:, :, None]
    queries: list[list[Query | None]] = [[TextQuery("low"), TextQuery("high")] for _ in range(num)]
    return MixtureBatch(sources.sum(dim=1), sources, queries, RATE, ["?"] * num)


def vaguely(batch: MixtureBatch, learned: str, swapped: bool = False) -> QueryEmbedding:
    """All queries are the same, so that only the constraint tells the sources apart."""
    num, num_sources = batch.sources.shape[:2]
    embedding = QueryEmbedding(torch.eye(QUERY_DIM)[:num_sources].expand(num, -1, -1))
    constrained = conditioned(
        embedding, batch, Capabilities(**{learned: True}), rng(0), probability=1.0
    )
    constrained = replace(constrained, pooled=torch.eye(QUERY_DIM)[3].expand(num, num_sources, -1))
    return constrained.map(lambda entry: entry.flip(1)) if swapped else constrained


def trained(learned: str, num_steps: int) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        separator = build_separator("band_unet", SETTINGS["band_unet"] | {learned: True})
    separator.reader.store(torch.eye(7, QUERY_DIM), torch.tensor([0, 1, 2, 3, 3, 3, 3]))
    optimizer = torch.optim.AdamW(separator.train().parameters(), lr=1e-2)
    # Without a decay to zero the gain after the last step is off by tens of decibels on some processors.
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, num_steps)
    for step in range(num_steps):
        batch = tones(4, seed=step)
        loss = separator.loss(batch, vaguely(batch, learned), rng(step)).total.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    return separator.eval()


@pytest.mark.parametrize(("learned", "num_steps"), [("negatives", 30), ("spans", 50)])
def test_a_learned_constraint_selects_one_of_two_sounds(learned: str, num_steps: int) -> None:
    separator, batch = trained(learned, num_steps), tones(5, seed=999)

    def gain_db(queries: QueryEmbedding) -> float:
        with torch.no_grad():
            target = separator.separate(batch.mixture, queries).target
        before = si_sdr(batch.mixture[:, None].expand_as(batch.sources), batch.sources)
        return float((si_sdr(target, batch.sources) - before).mean())

    assert gain_db(vaguely(batch, learned)) > 6
    assert gain_db(vaguely(batch, learned, swapped=True)) < -6


def test_learned_constraints_go_to_the_network_in_place_of_the_rules() -> None:
    """At the network's rate, for a recording longer than a chunk: as if the network had had it whole."""
    separator = tiny_separator(negatives=True, spans=True)
    conditions = Constraints(negatives=["?", "??"], spans=[(0.5, 41.0)])
    mixture, pooled = noise(2, 45 * RATE), unit_vectors(3 + 2, QUERY_DIM, seed=4)
    blocks = np.array_split(mixture.numpy(), 7, axis=-1)
    pairs = separate_constrained(separator, blocks, RATE, QueryEmbedding(pooled), conditions)
    actual = np.concatenate([targets for _, targets in pairs], axis=-1)

    track = torch.zeros(1, 3, 45 * RATE)
    fade = (1 - torch.cos(torch.pi * (torch.arange(80) + 0.5) / 80)) / 2
    track[..., 4000 : 41 * RATE] = 1
    track[..., 4000:4080] = fade
    track[..., 41 * RATE - 80 : 41 * RATE] = fade.flip(0)
    negative = QueryEmbedding(pooled[None, None, 3:].expand(1, 3, 2, -1))
    queries = QueryEmbedding(pooled[None, :3], negative=negative, activity=track)
    with torch.no_grad():
        whole = separator.separate(mixture[None], queries).target[0] * track[0, :, None]
        plain = separator.separate(mixture[None], QueryEmbedding(pooled[None, :3])).target[0]
    np.testing.assert_allclose(actual, whole, atol=2e-6)  # two sums in another order
    assert (whole - plain * track[0, :, None]).abs().max() > 1e-3


def track_changes(separator: Any, track: Tensor) -> Tensor:
    queries = QueryEmbedding(unit_vectors(2, 3, QUERY_DIM), activity=track)
    with torch.no_grad():
        return separator.separate(noise(2, 1, 3001), queries).target


def test_activity_of_ones_equals_no_activity() -> None:
    separator = tiny_separator(spans=True)
    with_ones = track_changes(separator, torch.ones(2, 3, 3001))
    with torch.no_grad():
        without = separator.separate(
            noise(2, 1, 3001), QueryEmbedding(unit_vectors(2, 3, QUERY_DIM))
        ).target
    torch.testing.assert_close(with_ones, without, atol=1e-6, rtol=0)  # batches of another size
    track = torch.ones(2, 3, 3001)
    track[1, 2, :1500] = 0
    changed = (track_changes(separator, track) - with_ones).abs().amax(dim=(2, 3))
    assert torch.equal(changed > 1e-4, torch.tensor([[False] * 3, [False, False, True]]))

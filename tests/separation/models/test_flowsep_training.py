"""Training of FlowSep: levels, windows, random draws, and a batch that is overfitted."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from tiny import mixture_batch, noise, rng
from tiny_flowsep import WINDOW, flowsep

from qsep.separation.objectives.flow_matching import FlowConfig, draw_items


@pytest.fixture(autouse=True)
def no_gradients(request: pytest.FixtureRequest) -> Iterator[None]:
    with torch.set_grad_enabled("trains" in request.node.name):
        yield


def test_a_mixture_and_its_target_are_brought_to_one_level_together() -> None:
    separator = flowsep()
    mixture, target = 3 * noise(2, 1, WINDOW), noise(2, 1, WINDOW, seed=1)
    mixture_windows, target_windows = separator.training_windows(mixture, target)
    assert mixture_windows.shape == (2, 1, 1, WINDOW)
    torch.testing.assert_close(
        mixture_windows.abs().amax(dim=-1).flatten(), torch.tensor([0.5, 0.5])
    )
    centred = [part - part.mean(dim=-1, keepdim=True) for part in (mixture, target)]
    ratio = mixture_windows.std(dim=-1) / target_windows.std(dim=-1)
    torch.testing.assert_close(ratio[..., 0], centred[0].std(-1) / centred[1].std(-1))


def test_exact_turns_a_clipping_mixture_down_without_its_target() -> None:
    separator = flowsep(exact=True)
    target = noise(2, 1, WINDOW)
    mixture = target + noise(2, 1, WINDOW, seed=1) * torch.tensor([0.1, 9.0])[:, None, None]
    mixture_windows, target_windows = separator.training_windows(mixture, target)
    torch.testing.assert_close(
        target_windows.abs().amax(dim=-1).flatten(), torch.tensor([0.5, 0.5])
    )
    assert mixture_windows[0].abs().max() < 1
    torch.testing.assert_close(mixture_windows[1].abs().max(), torch.tensor(0.9))


def test_longer_segments_are_windows_and_shorter_ones_are_padded() -> None:
    separator = flowsep()
    mixture_windows, _ = separator.training_windows(
        noise(2, 3, 2 * WINDOW + 1), noise(2, 3, 2 * WINDOW + 1)
    )
    assert mixture_windows.shape == (2, 3, 3, WINDOW)
    assert not mixture_windows[:, :, 2, 1:].any()
    assert mixture_windows[:, :, 2, 0].all()


def test_the_scale_of_latents_is_that_of_the_first_training_batch_and_it_trains() -> None:
    separator = flowsep().train()
    batch, queries = mixture_batch()
    assert separator.codec.scale == 0
    separator.loss(batch, queries, rng(0))
    first = separator.codec.scale.clone()
    queried_texts = batch.queried()
    items, sources = queried_texts.nonzero(as_tuple=True)
    _, target = separator.training_windows(batch.mixture[items], batch.sources[items, sources])
    latent = separator.codec.encode(separator.codec.log_mel(target))
    assert latent.std().item() == pytest.approx(1.0, rel=1e-4)  # encoded with the scale
    louder = replace(batch, sources=batch.sources * torch.tensor([1.0, 9.0, 1.0])[:, None, None])
    separator.loss(louder, queries, rng(1))
    assert torch.equal(separator.codec.scale, first)


def test_hidden_queries_are_not_read() -> None:
    separator = flowsep(flow={"query_dropout": 1.0})
    batch, queries = mixture_batch()
    other = queries.map(lambda part: part.flip(0))
    losses = [separator.loss(batch, each, rng(0)).total for each in (queries, other)]
    assert torch.equal(*losses)


def test_draws_of_items_are_independent_and_different() -> None:
    config = FlowConfig()
    together = draw_items(["a", "b", "c"], (50, 7), config, rng(1))
    alone = draw_items(["c"], (50, 7), config, rng(1))
    assert torch.equal(together.noise[[2]], alone.noise)
    assert torch.equal(together.tau[[2]], alone.tau)
    correlation = torch.corrcoef(together.noise.flatten(1)) - torch.eye(3)
    assert correlation.abs().max() < 0.2  # 350 numbers: 0.05 is one deviation
    assert len(set(together.tau.tolist())) == 3
    later = draw_items(["a", "b", "c"], (50, 7), config, rng(2))
    assert (later.tau != together.tau).all()


@pytest.mark.parametrize("exact", [False, True])
def test_queries_are_hidden_at_the_set_rate_by_item_or_as_published_by_batch(exact: bool) -> None:
    config, generator = FlowConfig(query_dropout=0.3), rng(1)
    ids = [f"item {number}" for number in range(5)]
    drawn = torch.stack(
        [draw_items(ids, (2,), config, generator, hide_by_batch=exact).hidden for _ in range(400)]
    )
    assert drawn.float().mean().item() == pytest.approx(0.3, abs=0.1 if exact else 0.05)
    all_alike = (drawn == drawn[:, :1]).all(dim=1).float().mean()
    # five fair choices of 0.3 all fall alike once in 0.7^5 + 0.3^5 = 0.17 times
    assert all_alike.item() == pytest.approx(1.0 if exact else 0.17, abs=0.06)


@pytest.mark.slow
def test_training_trains_the_velocity_network_to_overfit_one_batch() -> None:
    separator = flowsep().train()
    batch, queries = mixture_batch(num_samples=WINDOW)
    optimizer = torch.optim.Adam(separator.unet.parameters(), lr=2e-3)
    losses = []
    for _ in range(25):
        loss = separator.loss(batch, queries, rng(0)).total.mean()  # the same noise and times
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]

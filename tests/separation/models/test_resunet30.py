"""ResUNet30: what is particular to it beyond the contract of every separator."""

from typing import Any

import pytest
import torch
from tiny import mixture_batch, noise, tiny_separator, unit_vectors
from torch import Tensor

from qsep.queries.interface import QueryEmbedding
from qsep.separation.components import build_separator
from qsep.separation.inference.chunks import Geometry, separate_chunks

QUERY_DIM = 6


@pytest.fixture(name="separator")
def built() -> Any:
    return tiny_separator("resunet30")


def random_queries(batch: int, num: int) -> QueryEmbedding:
    return QueryEmbedding(unit_vectors(batch, num, QUERY_DIM, seed=9))


@torch.inference_mode()
def target(separator: Any, mixture: Tensor, queries: QueryEmbedding) -> Tensor:
    return separator.separate(mixture, queries).target


@torch.no_grad()
def test_the_loss_is_the_mean_absolute_error_over_queried_sources(separator: Any) -> None:
    batch, queries = mixture_batch()
    estimate = target(separator, batch.mixture, queries)
    error = (estimate - batch.sources).abs().mean(dim=(2, 3))
    chosen = [[0, 1, 2], [1, 2], [0, 1, 2], [0, 1, 2]]
    expected = torch.stack([error[item, row].mean() for item, row in enumerate(chosen)])
    total = separator.loss(batch, queries, torch.Generator()).total
    # Float32 sums, of values near 0.1.
    torch.testing.assert_close(total, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("num_samples", [1, 2, 31, 32, 33])
def test_clips_shorter_than_a_window_give_sound(separator: Any, num_samples: int) -> None:
    mixture = noise(2, 1, num_samples)
    targets = target(separator, mixture, random_queries(2, 3))
    ratio = targets.square().sum(dim=(2, 3)) / mixture.square().sum(dim=(1, 2))[:, None]
    assert ratio.min() > 1e-4  # random weights take some -10 dB
    assert ratio.max() < 4


@torch.inference_mode()
def test_the_mask_never_amplifies_and_leaves_the_highest_bin_silent(separator: Any) -> None:
    magnitude = noise(3, 33, 21).abs()
    mask = separator.mask(magnitude, unit_vectors(3, QUERY_DIM))
    assert mask.shape == magnitude.shape
    assert mask.abs().max() <= 1 + 1e-6  # rounding of a product of two numbers up to 1
    assert mask[:, -1].abs().max() == 0
    assert mask[:, :-1].abs().min() > 0
    assert mask.imag.abs().max() > 0.1  # phases turn


def test_channels_share_the_mask_of_their_root_mean_square(separator: Any) -> None:
    mono = noise(2, 1, 1601)
    left, right = 1.4, -0.2  # 1.4 ** 2 + 0.2 ** 2 = 2: the root mean square is mono's
    targets = target(separator, torch.cat([left * mono, right * mono], dim=1), random_queries(2, 3))
    expected = target(separator, mono, random_queries(2, 3))
    # 1e-4: directions of tiny complex numbers magnify the rounding of magnitudes
    torch.testing.assert_close(targets[:, :, :1], left * expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(targets[:, :, 1:], right * expected, atol=1e-4, rtol=0)


def test_chunks_of_a_long_recording_have_no_seams(separator: Any) -> None:
    stride = separator.stride_samples
    context = -(-separator.context_samples // stride) * stride
    mixture, queries = noise(1, 2, 9 * stride + 3 * context + 13), random_queries(1, 3)
    blocks = mixture[0].split(701, dim=-1)
    cut = Geometry(step=3 * stride, context=context, fade=stride)
    pooled = QueryEmbedding(queries.pooled[0])
    joined = torch.cat(list(separate_chunks(separator, blocks, pooled, cut)), dim=-1)
    whole = target(separator, mixture, queries)[0]
    error = (joined - whole).square().sum() / whole.square().sum()
    assert error < 1e-8  # -80 dB; a hard cut of the published kind is at -20 here


def test_exact_takes_two_seconds_at_a_time_with_hard_cuts_in_chunks_too() -> None:
    """As the authors of USS do: the last two seconds filled up with zeros."""
    exact, whole = tiny_separator("resunet30", exact=True), tiny_separator("resunet30")
    exact.load_state_dict(whole.state_dict())
    segment = 2 * whole.sample_rate
    mixture, queries = noise(1, 2, 2 * segment + 777), random_queries(1, 3)
    parts = [*mixture.split(segment, dim=-1)]
    parts[-1] = torch.nn.functional.pad(parts[-1], (0, segment - 777))
    expected = torch.cat([target(whole, part, queries) for part in parts], dim=-1)
    expected = expected[..., : mixture.shape[-1]]
    # 1e-5: rounding, which depends on memory layouts
    torch.testing.assert_close(target(exact, mixture, queries), expected, atol=1e-5, rtol=0)
    cut = Geometry(exact.stride_samples, exact.context_samples, exact.stride_samples)
    blocks = mixture[0].split(4321, dim=-1)
    joined = torch.cat(
        list(separate_chunks(exact, blocks, QueryEmbedding(queries.pooled[0]), cut)), dim=-1
    )
    # 1e-5: the crossfade of two equal signals
    torch.testing.assert_close(joined, expected[0], atol=1e-5, rtol=0)


def test_a_window_that_is_not_divisible_at_every_level_is_refused() -> None:
    with pytest.raises(ValueError, match="window_samples is 2000; expected a multiple of 128"):
        build_separator("resunet30", {"window_samples": 2000})


def test_the_published_size_reaches_as_far_as_its_layers() -> None:
    with torch.device("meta"):
        separator = build_separator("resunet30", {})
    # two convolutions a block: 2 frames each way at 1, 2, 4, … 32 frames a step, down and up, and 2 at
    # the bottom of 32; 31 for the place within a step; and the windows of both transforms
    frames = 2 * 2 * (1 + 2 + 4 + 8 + 16 + 32) + 2 * 32 + 31
    assert separator.context_samples == frames * 320 + 2048
    assert separator.stride_samples == 32 * 320

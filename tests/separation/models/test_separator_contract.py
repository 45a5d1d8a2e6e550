"""What every separator promises: each file in separation/models, found by scanning the folder."""

import copy
import dataclasses
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import kind_of, mixture_batch, noise, rng, tiny_separator, unit_vectors
from tiny_settings import (
    BLIND,
    CONTRASTIVE,
    DEEP,
    LEVEL_DEPENDENT,
    QUERY_DIM,
    RATE,
    SETTINGS,
    UNORDERED,
)
from torch import Tensor

import qsep.separation.models
from qsep.queries.interface import QueryEmbedding
from qsep.separation.components import build_encoder, component_names
from qsep.separation.interface import LossOutput, MixtureBatch, Separator
from qsep.separation.storage.checkpoint import describe, save_checkpoint

# Every file, whether or not it has an entry in SETTINGS (it then fails), and the variants listed there.
pytestmark = pytest.mark.parametrize(
    "kind", sorted({*component_names(qsep.separation.models), *SETTINGS})
)


NUM_SAMPLES = 2001  # of what is learnt from


@cache
def built_once(kind: str) -> Any:
    return tiny_separator(kind)


@pytest.fixture(name="separator")
def built(kind: str) -> Any:
    """One for all tests of a kind; those that train take a copy."""
    return built_once(kind)


def queries(batch: int = 2, num: int = 3, seed: int = 9) -> QueryEmbedding:
    return QueryEmbedding(unit_vectors(batch, num, QUERY_DIM, seed=seed))


def target(separator: Any, mixture: Tensor, embedding: QueryEmbedding) -> Tensor:
    with torch.inference_mode():
        return separator.separate(mixture, embedding, rng(0)).target


def level_db(part: Tensor, whole: Tensor) -> float:
    return 10 * torch.log10(part.double().square().sum() / whole.double().square().sum()).item()


def exact(separator: Any, kind: str) -> tuple[Any, torch.dtype, float]:
    """The separator, its numbers' type, and how far its samples may move by sums in another order.

    Where float32 says little, for errors add up through several deep networks, float64 says more.
    """
    if kind_of(kind) in DEEP:
        return copy.deepcopy(separator).double(), torch.float64, 1e-10
    return separator, torch.float32, 1e-6


def skip_if_blind(kind: str) -> None:
    if kind in BLIND:
        pytest.skip("reads no queries")


def test_it_declares_what_the_protocol_requires(separator: Any, kind: str) -> None:
    assert isinstance(separator, Separator)
    assert separator.sample_rate == RATE
    assert separator.query_dim == (0 if kind in BLIND else QUERY_DIM)
    with pytest.raises(dataclasses.FrozenInstanceError):
        separator.config.sample_rate = 1
    assert dataclasses.is_dataclass(separator.config)


def test_target_and_residual_sum_to_the_mixture(separator: Any) -> None:
    mixture = noise(2, 1, 641)
    with torch.inference_mode():
        separated = separator.separate(mixture, queries(), rng(0))
    total = separated.target + separated.residual
    # 1e-7: one rounding of the residual, of values under 0.5
    torch.testing.assert_close(total, mixture[:, None].expand_as(total), atol=1e-7, rtol=0)


@pytest.mark.parametrize("num_samples", [1, 7, 641, 5000])
def test_the_length_is_that_of_the_mixture(separator: Any, num_samples: int) -> None:
    with torch.inference_mode():
        separated = separator.separate(noise(2, 1, num_samples), queries(), rng(0))
    assert separated.target.shape == separated.residual.shape == (2, 3, 1, num_samples)
    assert separated.target.isfinite().all()


@pytest.mark.parametrize("gain", [1e-4, 1e-2, 30.0])
def test_scaling_the_mixture_scales_the_target(separator: Any, gain: float, kind: str) -> None:
    if kind_of(kind) in LEVEL_DEPENDENT:
        pytest.skip("depends on the level, as published")
    mixture = noise(2, 1, 1601)
    expected = gain * target(separator, mixture, queries())
    error = target(separator, gain * mixture, queries()) - expected
    assert level_db(error, expected) < -80  # guards against log 0 are 1e-5 of the quietest energies


def test_silence_stays_silence(separator: Any) -> None:
    silence = torch.zeros(2, 2, 1601)
    with torch.inference_mode():
        separated = separator.separate(silence, queries(), rng(0))
    assert separated.target.abs().max() == 0
    assert separated.residual.abs().max() == 0


def test_sound_after_silence_is_finite(separator: Any) -> None:
    mixture = torch.cat([torch.zeros(2, 1, 5000), noise(2, 1, 641)], dim=-1)
    targets = target(separator, mixture, queries())
    assert targets.isfinite().all()
    assert targets[..., -641:].abs().max() > 0


def test_swapped_channels_come_out_swapped(separator: Any, kind: str) -> None:
    if separator.num_channels not in (None, 2):
        pytest.skip(f"takes {separator.num_channels} channels")
    separator, dtype, tolerance = exact(separator, kind)
    mixture, embedding = noise(1, 2, 1601).to(dtype), queries(1).map(lambda entry: entry.to(dtype))
    swapped = target(separator, mixture.flip(1), embedding)
    expected = target(separator, mixture, embedding).flip(2)
    torch.testing.assert_close(swapped, expected, atol=tolerance, rtol=0)


def test_a_target_does_not_depend_on_the_rest_of_the_batch(separator: Any, kind: str) -> None:
    separator, dtype, tolerance = exact(separator, kind)
    mixture, embedding = noise(2, 1, 1601).to(dtype), queries().map(lambda entry: entry.to(dtype))
    together = target(separator, mixture, embedding)
    for item in range(2):
        alone = target(
            separator, mixture[item, None], QueryEmbedding(embedding.pooled[item, None].clone())
        )
        torch.testing.assert_close(together[item], alone[0], atol=tolerance, rtol=0)


def test_a_target_does_not_depend_on_the_other_queries(separator: Any, kind: str) -> None:
    skip_if_blind(kind)
    separator, dtype, tolerance = exact(separator, kind)
    mixture, embedding = noise(2, 1, 1601).to(dtype), queries().map(lambda entry: entry.to(dtype))
    together = target(separator, mixture, embedding)
    for source in range(3):
        alone = target(
            separator, mixture, QueryEmbedding(embedding.pooled[:, source, None].clone())
        )
        torch.testing.assert_close(together[:, source], alone[:, 0], atol=tolerance, rtol=0)


def test_the_target_depends_on_the_query(separator: Any, kind: str) -> None:
    skip_if_blind(kind)
    mixture = noise(1, 1, 1601)
    targets = target(separator, mixture, queries(1, 3))[0]
    assert level_db(targets[0] - targets[1], mixture) > -60


def skip_if_unordered(kind: str) -> None:
    if kind_of(kind) in UNORDERED:
        pytest.skip("the order of its outputs depends on all that came before")


def test_input_beyond_the_context_changes_nothing(separator: Any, kind: str) -> None:
    skip_if_unordered(kind)
    context = separator.context_samples
    num_samples = 2 * context + 701
    mixture, embedding = noise(1, 1, num_samples), queries(1)
    position = context + 301
    changed = mixture.clone()
    changed[..., position] += 30  # so loud that all levels around it are others
    before, after = target(separator, mixture, embedding), target(separator, changed, embedding)
    differs = (before != after).flatten(0, 2).any(dim=0).nonzero()[:, 0]
    assert differs.min() >= position - context
    assert differs.max() <= position + context
    assert len(differs) > separator.stride_samples  # or nothing was tested


def test_cutting_at_multiples_of_the_stride_changes_nothing_beyond_the_context(
    separator: Any, kind: str
) -> None:
    skip_if_unordered(kind)
    context, stride = separator.context_samples, separator.stride_samples
    mixture, embedding = noise(1, 1, context + 5 * stride + 701), queries(1)
    whole = target(separator, mixture, embedding)
    for num_strides in (1, 3):
        cut = num_strides * stride
        rest = target(separator, mixture[..., cut:], embedding)
        # 1e-6: convolutions may sum in another order
        torch.testing.assert_close(
            rest[..., context:], whole[..., cut + context :], atol=1e-6, rtol=0
        )


def loss(separator: Any, batch: MixtureBatch, embedding: QueryEmbedding) -> Tensor:
    """(b,), without the graph for gradients, which takes longer than the loss itself."""
    with torch.no_grad():
        return separator.loss(batch, embedding, rng(0)).total


@pytest.fixture(name="usual")
def usual_losses(kind: str) -> LossOutput:
    """Of mixture_batch(NUM_SAMPLES)."""
    return usual_loss(kind)


@cache
def usual_loss(kind: str) -> LossOutput:
    with torch.no_grad():
        output: LossOutput = built_once(kind).loss(*mixture_batch(NUM_SAMPLES), rng(0))
    return output


def chosen(batch: MixtureBatch, items: list[int]) -> MixtureBatch:
    return dataclasses.replace(
        batch,
        mixture=batch.mixture[items],
        sources=batch.sources[items],
        queries=[batch.queries[item] for item in items],
        ids=[batch.ids[item] for item in items],
    )


def test_the_loss_of_an_item_does_not_depend_on_the_others(
    separator: Any, usual: LossOutput, kind: str
) -> None:
    batch, embedding = mixture_batch(NUM_SAMPLES)
    together = usual.total
    assert together.shape == (4,)
    if kind in CONTRASTIVE:
        pytest.skip("compares the items of a batch with each other, as published")
    order = [2, 0]
    losses = loss(separator, chosen(batch, order), QueryEmbedding(embedding.pooled[order]))
    # 1e-4 dB or thereabouts: float32 sums over a whole spectrum
    torch.testing.assert_close(losses, together[order], atol=1e-4, rtol=1e-4)


def test_terms_of_the_loss_have_one_value_per_item(usual: LossOutput) -> None:
    for name, values in usual.terms.items():
        assert values.shape == (4,), name


def test_the_loss_ignores_embeddings_of_unqueried_sources(
    separator: Any, usual: LossOutput
) -> None:
    batch, embedding = mixture_batch(NUM_SAMPLES)
    assert batch.queries[1][0] is None
    other = embedding.pooled.clone()
    other[1, 0] = torch.nan
    assert torch.equal(loss(separator, batch, QueryEmbedding(other)), usual.total)


def test_the_loss_does_not_depend_on_the_order_of_the_sources(
    separator: Any, usual: LossOutput
) -> None:
    batch, embedding = mixture_batch(NUM_SAMPLES)
    order = [2, 0, 1]
    permuted = dataclasses.replace(
        batch,
        sources=batch.sources[:, order],
        queries=[[row[source] for source in order] for row in batch.queries],
    )
    losses = loss(separator, permuted, QueryEmbedding(embedding.pooled[:, order]))
    torch.testing.assert_close(losses, usual.total, atol=1e-4, rtol=1e-4)


def test_the_loss_depends_on_which_query_goes_with_which_source(
    separator: Any, kind: str, usual: LossOutput
) -> None:
    skip_if_blind(kind)
    batch, embedding = mixture_batch(NUM_SAMPLES)
    exchanged = loss(separator, batch, QueryEmbedding(embedding.pooled[:, [2, 0, 1]]))
    assert (exchanged / usual.total - 1).abs().min() > 1e-5  # rounding: 1e-7


def test_the_loss_has_a_finite_gradient_for_every_weight(separator: Any) -> None:
    separator = copy.deepcopy(separator).train()
    separator.loss(*mixture_batch(NUM_SAMPLES), rng(0)).total.mean().backward()
    for name, weight in separator.named_parameters():
        if not weight.requires_grad:  # comes with a checkpoint and is not trained
            continue
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().max() > 0, name


def test_the_loss_is_finite_for_silence_and_without_queried_sources(separator: Any) -> None:
    separator = copy.deepcopy(separator)
    whole, pooled = mixture_batch(NUM_SAMPLES)
    batch, embedding = chosen(whole, [0, 1]), QueryEmbedding(pooled.pooled[:2])
    silent = dataclasses.replace(batch, mixture=0 * batch.mixture, sources=0 * batch.sources)
    unasked = dataclasses.replace(batch, queries=[[None] * 3] * 2)
    for edge in (silent, unasked):
        separator.zero_grad()
        total = separator.loss(edge, embedding, rng(0)).total
        total.sum().backward()
        assert total.isfinite().all()
        for name, weight in separator.named_parameters():
            assert weight.grad is None or weight.grad.isfinite().all(), name


def test_the_loss_changes_neither_batch_nor_queries(separator: Any) -> None:
    batch, embedding = mixture_batch(NUM_SAMPLES)
    kept, kept_queried = mixture_batch(NUM_SAMPLES)
    loss(separator, batch, embedding)
    assert torch.equal(batch.mixture, kept.mixture)
    assert torch.equal(batch.sources, kept.sources)
    assert torch.equal(embedding.pooled, kept_queried.pooled)


def test_an_analysed_mixture_gives_any_part_of_the_target(separator: Any) -> None:
    if not separator.capabilities.analyses:
        pytest.skip("analyses nothing ahead")
    num_samples = 12011
    mixture = noise(2, 3, num_samples)
    whole = target(separator, mixture, queries())
    ends = (0, 1), (0, 999), (5001, 5002), (4096, 8192), (11008, num_samples), (12010, num_samples)
    with torch.inference_mode():
        analysed = separator.analysed(mixture)
        for start, stop in ends:
            actual = analysed.targets(queries(), slice(start, stop))
            # 1e-6: float32, means over frames summed from other places
            torch.testing.assert_close(actual, whole[..., start:stop], atol=1e-6, rtol=0)


def test_the_classes_of_a_mixture_share_its_energy_and_bins(separator: Any) -> None:
    mixture = noise(2, 3, 12011)
    with torch.inference_mode():
        analysis = separator.class_analysis(mixture)
        if analysis is None:
            pytest.skip("does not tell its classes apart")
        shares, overlaps, targets = (
            analysis.shares(),
            analysis.overlaps(),
            analysis.targets(queries()),
        )
    num_rows = len(separator.classes) + 1
    assert shares.shape[:2] == (2, num_rows)
    assert (shares >= 0).all()
    scale = shares.sum(dim=(1, 2)) / mixture.square().mean(dim=1).sum(dim=1)
    # 0.05: a window covers the first and the last samples in part
    torch.testing.assert_close(scale[0], scale[1], rtol=0.05, atol=0)
    assert overlaps.shape == (2, num_rows, num_rows)
    torch.testing.assert_close(overlaps, overlaps.mT, rtol=1e-5, atol=1e-6)
    assert targets.shape == target(separator, mixture, queries()).shape
    if not separator.capabilities.generative:
        assert torch.equal(targets, target(separator, mixture, queries()))


SEPARATE_ELSEWHERE = """
import sys
from pathlib import Path
import numpy, torch
from qsep.queries.interface import QueryEmbedding
from qsep.separation.storage.checkpoint import load_checkpoint

torch.set_num_threads(int(sys.argv[2]))
folder = Path(sys.argv[1])
mixture, pooled = (torch.from_numpy(numpy.load(folder / name)) for name in ("mixture.npy", "pooled.npy"))
for model in folder.glob("*/model"):
    separator, generator = load_checkpoint(model)[0], torch.Generator().manual_seed(0)
    with torch.inference_mode():
        separated = separator.separate(mixture, QueryEmbedding(pooled), generator)
    numpy.save(model.parent / "target.npy", separated.target.numpy())
"""


@pytest.fixture(scope="module")
def targets_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Tensor, Path]]:
    """For each kind the target here, and the file of the one that a new process computed."""
    folder, mixture, embedding = tmp_path_factory.mktemp("elsewhere"), noise(2, 1, 1601), queries()
    np.save(folder / "mixture.npy", mixture.numpy())
    np.save(folder / "pooled.npy", embedding.pooled.numpy())
    encoder = build_encoder("labels", {"labels": list("abcdef")})  # as wide as QUERY_DIM
    both = {}
    for kind in component_names(qsep.separation.models):
        separator = tiny_separator(kind)
        description = describe(kind, separator, "labels", encoder, {})
        save_checkpoint(folder / kind / "model", description, separator.state_dict(), "# Card\n")
        both[kind] = target(separator, mixture, embedding), folder / kind / "target.npy"
    arguments = [str(folder), str(torch.get_num_threads())]
    subprocess.run([sys.executable, "-c", SEPARATE_ELSEWHERE, *arguments], check=True)
    return both


def test_saved_and_loaded_in_a_new_process_it_gives_the_same_samples(
    kind: str, targets_elsewhere: dict[str, tuple[Tensor, Path]]
) -> None:
    if kind != kind_of(kind):
        pytest.skip("a variant of another kind")
    expected, path = targets_elsewhere[kind]
    np.testing.assert_array_equal(np.load(path), expected.numpy())

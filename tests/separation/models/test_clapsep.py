"""CLAPSep: queries with negatives, in use and in training."""

import pytest
import torch
from tiny import mixture_batch, noise, rng, tiny_separator, unit_vectors
from tiny_settings import QUERY_DIM

from qsep.queries.interface import QueryEmbedding
from qsep.separation.models.clapsep import Config, wanted_and_unwanted
from qsep.separation.networks.clapsep.htsat import HTSATConfig
from qsep.separation.networks.masks.magnitude_masks import SegmentConfig


def test_the_condition_is_the_query_followed_by_the_mean_of_its_negatives() -> None:
    pooled = torch.tensor([[[1.0, 2.0]]])
    negative = torch.tensor([[[[4.0, 0.0], [0.0, 0.0], [2.0, 2.0]]]])
    embedding = QueryEmbedding(pooled, negative=QueryEmbedding(negative))
    assert wanted_and_unwanted(embedding).tolist() == [[[1, 2, 3, 1]]]  # zeros are none
    assert wanted_and_unwanted(QueryEmbedding(pooled)).tolist() == [[[1, 2, 0, 0]]]


def test_a_negative_alone_is_a_query() -> None:
    separator = tiny_separator("clapsep")
    assert separator.capabilities.negatives
    nothing = torch.zeros(1, 1, QUERY_DIM)
    unwanted = [
        QueryEmbedding(nothing, negative=QueryEmbedding(unit_vectors(1, 1, 1, QUERY_DIM, seed=s)))
        for s in (1, 2)
    ]
    mixture = noise(1, 1, 1601)
    with torch.inference_mode():
        first, second = (separator.separate(mixture, queries).target for queries in unwanted)
    assert (first - second).abs().max() > 1e-5


def test_the_loss_reads_the_negatives_of_queried_sources() -> None:
    separator, (batch, embedding) = tiny_separator("clapsep"), mixture_batch()
    negative = unit_vectors(4, 3, 1, QUERY_DIM, seed=3)
    constrained = QueryEmbedding(embedding.pooled, negative=QueryEmbedding(negative))
    with torch.no_grad():
        plain = separator.loss(batch, embedding, rng(0)).total
        total = separator.loss(batch, constrained, rng(0)).total
        negative[1, 0] = torch.nan  # of the unqueried source
        assert torch.equal(separator.loss(batch, constrained, rng(0)).total, total)
    assert (total - plain).abs().min() > 1e-6


def test_a_third_of_the_queries_with_a_negative_lose_the_positive() -> None:
    separator = tiny_separator("clapsep", negative_only=1 / 3)
    condition = unit_vectors(3000, 2 * QUERY_DIM, seed=4)
    condition[:1000, QUERY_DIM:] = 0
    actual = separator.drop_positives(condition, rng(5))
    lost = (actual[:, :QUERY_DIM] == 0).all(dim=1)
    assert not lost[:1000].any()
    assert lost[1000:].float().mean().item() == pytest.approx(1 / 3, abs=0.03)
    assert torch.equal(actual[:, QUERY_DIM:], condition[:, QUERY_DIM:])


def test_the_audio_encoder_is_trained_by_low_rank_updates_alone_and_stays_in_evaluation_mode() -> (
    None
):
    separator = tiny_separator("clapsep").train()
    assert separator.decoder.training
    assert not separator.encoder.norm.training
    tuned = {
        name.rpartition(".")[2]
        for name, weight in separator.encoder.named_parameters()
        if weight.requires_grad
    }
    assert tuned == {"lora_A", "lora_B", "bias"}
    frozen = [
        name
        for name, weight in separator.encoder.named_parameters()
        if name.endswith("attention.qkv.weight") and weight.requires_grad
    ]
    assert not frozen


def test_mismatched_hops_and_unsupported_segments_are_refused() -> None:
    with pytest.raises(ValueError, match="expected hops of one duration"):
        Config(spectrogram=SegmentConfig(32000, 1024, 512, 600))
    with pytest.raises(ValueError, match="segment_frames is 1025; expected at most 1024"):
        Config(spectrogram=SegmentConfig(32000, 1024, 320, 1025))
    assert HTSATConfig().num_frames == 1024


def test_training_refuses_mixtures_longer_than_the_network_takes() -> None:
    separator, (batch, embedding) = tiny_separator("clapsep"), mixture_batch(num_samples=4200)
    with pytest.raises(ValueError, match=r"of 132 frames; expected at most 128: set mix"):
        separator.loss(batch, embedding, rng(0))

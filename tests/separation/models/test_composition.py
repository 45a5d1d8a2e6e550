"""Composed separators: entries of the query, consistency, losses, and parts that do not fit together."""

from typing import Any

import pytest
import torch
from tiny import noise, rng, tiny_separator, unit_vectors
from tiny_settings import BANDS
from torch import Tensor

from qsep.queries.interface import QueryEmbedding


def fresh(**changes: Any) -> Any:
    """As built, entries at their start; `tiny_separator` would give them random weights."""
    from tiny_settings import SETTINGS

    from qsep.separation.components import build_separator

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_separator("queried", SETTINGS["queried"] | changes).eval()


@pytest.mark.parametrize(
    "entry", [{"kind": "film"}, {"kind": "cross_attention", "head_channels": 4}, {"kind": "late"}]
)
def test_before_training_all_queries_get_what_a_backbone_without_queries_gives(
    entry: dict[str, Any],
) -> None:
    separator = fresh(entry=entry)
    mixture = noise(1, 1, 300)
    with torch.inference_mode():
        target = separator.separate(mixture, QueryEmbedding(unit_vectors(1, 2, 6))).target
        other = separator.separate(mixture, QueryEmbedding(unit_vectors(1, 2, 6, seed=7))).target
    torch.testing.assert_close(target, other, atol=1e-7, rtol=0)


def test_cross_attention_reads_tokens_that_are_real_and_no_others() -> None:
    separator = tiny_separator("queried:mel_roformer")
    mixture, pooled = noise(1, 1, 300), unit_vectors(1, 1, 6)
    tokens = unit_vectors(1, 1, 3, 6, seed=3)
    other = tokens.clone()
    other[0, 0, 2] = 5.0

    def target(tokens: Tensor, real: list[bool]) -> Tensor:
        embedding = QueryEmbedding(pooled, tokens, torch.tensor([[real]]))
        with torch.inference_mode():
            return separator.separate(mixture, embedding).target

    masked = target(tokens, [True, True, False])
    assert torch.equal(masked, target(other, [True, True, False]))
    assert (masked - target(other, [True, True, True])).abs().max() > 1e-5


def test_mixture_consistency_shares_the_error_equally_between_the_outputs() -> None:
    plain, consistent = (
        tiny_separator("queried", consistent=value, segment_seconds=1.0) for value in (False, True)
    )
    mixture, embedding = noise(2, 1, 300), QueryEmbedding(unit_vectors(2, 3, 6))
    with torch.inference_mode():
        raw, actual = plain.outputs(mixture, embedding), consistent.outputs(mixture, embedding)
    missing = mixture[:, None, None] - raw.sum(dim=2, keepdim=True)
    torch.testing.assert_close(actual, raw + missing / 2, atol=1e-7, rtol=0)
    assert missing.abs().max() > 0.01


def test_without_consistency_the_residual_is_the_networks_own() -> None:
    separator = tiny_separator("queried", consistent=False, segment_seconds=1.0)
    mixture, embedding = noise(2, 1, 300), QueryEmbedding(unit_vectors(2, 3, 6))
    with torch.inference_mode():
        separated, outputs = (
            separator.separate(mixture, embedding),
            separator.outputs(mixture, embedding),
        )
    assert torch.equal(separated.residual, outputs[:, :, 1])


def test_masks_of_target_and_residual_sum_to_one_where_configured() -> None:
    separator = tiny_separator("queried:tiger", consistent=False)
    mixture, embedding = noise(2, 1, 300), QueryEmbedding(unit_vectors(2, 3, 6))
    with torch.inference_mode():
        total = separator.outputs(mixture, embedding).sum(dim=2)
    # 1e-6: an STFT there and back in float32
    torch.testing.assert_close(total, mixture[:, None].expand_as(total), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": {"kind": "tiger"}, "causal": True}, "TIGER is not causal"),
        ({"backbone": {"kind": "demucs"}}, "its analysis must be 'waveform'"),
        ({"backbone": {"kind": "deftan"}, "causal": True}, "DeFTAN-II is not causal"),
        ({"backbone": {"kind": "clearbuds"}, "causal": True}, "ClearBuds looks ahead"),
        ({"backbone": {"kind": "clearbuds"}}, "its analysis must be 'waveform'"),
        ({"backbone": {"kind": "multidilated"}}, "its analysis must be 'stft' or 'waveform'"),
        (
            {"backbone": {"kind": "multidilated"}, "analysis": {"kind": "waveform"}},
            "multidilated works on complex spectra",
        ),
        ({"analysis": {"kind": "filterbank", "num_filters": 8}}, "an analysis of complex spectra"),
        ({"analysis": BANDS | {"hop_samples": 40}}, "at most half a window, 32"),
        ({"analysis": BANDS | {"hop_samples": 16}, "causal": True}, "a hop of half a window"),
        ({"backbone": {"kind": "nothing"}}, "'nothing' is not one of"),
        ({"head": {}}, "needs a kind"),
        ({"analysis": {"kind": "bands", "scheme": "widths", "widths": [3, 4]}}, "sum to 7"),
    ],
)
def test_incompatible_parts_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        separator = fresh(**changes)
        separator.separate(noise(1, 1, 100), QueryEmbedding(unit_vectors(1, 1, 6)))


def test_the_losses_of_both_outputs_are_weighted() -> None:
    generator = rng(0)
    from tiny import mixture_batch

    batch, embedding = mixture_batch(500)
    both, target = (
        tiny_separator("queried", residual_weight=weight).loss(batch, embedding, generator)
        for weight in (1.0, 0.0)
    )
    # Without a weight the target's term is all there is.
    torch.testing.assert_close(target.total[0], target.terms["present"][0])
    # but in the third, where nothing else sounds: target and residual err by the same
    assert (both.total - target.total)[[0, 1, 3]].abs().min() > 1e-3

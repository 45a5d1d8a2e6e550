"""The audio-visual model: pictures as bags of patches, and what its loss compares."""

import dataclasses
from typing import Any

import pytest
import torch
from tiny import mixture_batch, noise, rng, tiny_separator, unit_vectors
from tiny_encoders import pixels
from tiny_settings import CLIPSEP, QUERY_DIM

from qsep.queries.interface import ImageQuery, QueryEmbedding
from qsep.separation.components import build_separator
from qsep.separation.interface import MixtureBatch
from qsep.separation.networks.masks.log_frequency import FLOOR

ROUNDING = 1e-6  # float32, unit vectors


@pytest.fixture(name="model", scope="module")
def built() -> Any:
    return tiny_separator("audiovisual")


def with_tokens(num: int, num_queries: int, num_tokens: int, seed: int = 1) -> QueryEmbedding:
    """Queries of one item or more, whose last token is padding."""
    tokens = unit_vectors(num, num_queries, num_tokens, QUERY_DIM, seed=seed)
    mask = torch.ones(num, num_queries, num_tokens, dtype=torch.bool)
    mask[..., -1] = False
    return QueryEmbedding(unit_vectors(num, num_queries, QUERY_DIM, seed=seed + 1), tokens, mask)


def of_pictures(seed: int = 5) -> tuple[MixtureBatch, QueryEmbedding]:
    """b = 4, s = 4, the last a picture of the whole mixture; the last item has none of them."""
    batch, _ = mixture_batch(3001, seed=seed)
    picture = ImageQuery(pixels(8, 9))
    silent = torch.zeros_like(batch.sources[:, :1])
    wholes = torch.zeros(4, 4, dtype=torch.bool)
    wholes[:, 3] = True
    rows = [[*row, picture] for row in batch.queries[:3]] + [[None] * 4]
    sources = torch.cat([batch.sources, silent], dim=1)
    return dataclasses.replace(batch, sources=sources, queries=rows, whole=wholes), with_tokens(
        4, 4, 5, seed
    )


def test_queries_for_whole_mixtures_are_no_queried_sources() -> None:
    batch, _ = of_pictures()
    assert batch.queried().tolist() == [
        [True, True, True, False],
        [False, True, True, False],
        [True, True, True, False],
        [False] * 4,
    ]
    assert batch.queried_whole().tolist() == [[False] * 3 + [True]] * 3 + [[False] * 4]
    plain, _ = mixture_batch()
    assert not plain.queried_whole().any()
    assert torch.equal(batch.to("cpu").queried(), batch.queried())


def test_a_pictures_vector_is_the_maximum_of_its_bag(model: Any) -> None:
    queries = with_tokens(1, 1, 3)
    with torch.no_grad():
        bags, mask = model.bag(queries)
        parts = [queries.pooled[0, 0], *queries.tokens[0, 0]]  # type: ignore[index]
        by_hand = torch.stack([torch.nn.functional.normalize(model.see(p), dim=0) for p in parts])
        torch.testing.assert_close(bags[0, 0], by_hand, atol=ROUNDING, rtol=0)
        largest = torch.maximum(torch.maximum(by_hand[0], by_hand[1]), by_hand[2])  # no padding
        expected = largest / largest.norm()
        torch.testing.assert_close(
            model.pictures(bags, mask)[0, 0], expected, atol=ROUNDING, rtol=0
        )


def test_padding_changes_neither_target_nor_likeness(model: Any) -> None:
    queries, mixture = with_tokens(2, 3, 4), noise(2, 2, 901)
    assert queries.tokens is not None
    other = queries.tokens.clone()
    other[:, :, -1] = 7.0
    changed = dataclasses.replace(queries, tokens=other)
    with torch.no_grad():
        assert torch.equal(
            model.separate(mixture, queries).target, model.separate(mixture, changed).target
        )
        assert torch.equal(
            model.likeness(mixture, queries).whole, model.likeness(mixture, changed).whole
        )


def test_likeness_is_the_cosine_with_the_embedded_sound(model: Any) -> None:
    sound, queries = noise(2, 1, 901), with_tokens(2, 3, 4)
    with torch.no_grad():
        likeness = model.likeness(sound, queries)
        bags, mask = model.bag(queries)
        vectors = model.embed(sound)
    assert likeness.whole.shape == (2, 3)
    assert likeness.tokens.shape == (2, 3, 4)
    for item, query, token in ((0, 2, 1), (1, 0, 3)):
        expected = (vectors[item] * bags[item, query, 1 + token]).sum()
        torch.testing.assert_close(
            likeness.tokens[item, query, token], expected, atol=ROUNDING, rtol=0
        )
        whole = (vectors[item] * model.pictures(bags, mask)[item, query]).sum()
        torch.testing.assert_close(likeness.whole[item, query], whole, atol=ROUNDING, rtol=0)


def test_segments_of_a_long_sound_count_by_their_energy(model: Any) -> None:
    """Frames 0 to 15, 12 to 27 and the last 16, of a sound that becomes ten times quieter."""
    sound = noise(1, 2, 36 * 32) * torch.logspace(0, -1, 36 * 32)
    with torch.no_grad():
        magnitude = model.spectrogram.rows(model.spectrogram.spectrum(sound)) + FLOOR
        assert magnitude.shape[-1] == 37
        expected = torch.zeros(9)
        for start in (0, 12, 21):
            segment = magnitude[..., start : start + 16]
            (vector,) = model.sounds(model.unet.encode(segment.log()[:, None])[-1])
            expected += segment.square().sum() * vector
        (actual,) = model.embed(sound)
    torch.testing.assert_close(actual, expected / expected.norm(), atol=ROUNDING, rtol=0)


def test_without_mixed_pictures_there_is_no_alignment(model: Any) -> None:
    batch, queries = of_pictures()
    plain = dataclasses.replace(batch, queries=[[*row[:3], None] for row in batch.queries])
    with torch.no_grad():
        both = model.loss(batch, queries, rng(0)).terms
        without = model.loss(plain, queries, rng(0)).terms
    assert sorted(both) == ["alignment", "localisation", "mask_bce", "recognition"]
    assert sorted(without) == ["localisation", "mask_bce", "recognition"]
    for name, values in without.items():  # mixed pictures change no other term
        torch.testing.assert_close(both[name], values, atol=ROUNDING, rtol=0)


def test_the_total_is_the_weighted_sum_of_the_terms() -> None:
    weights = {"localisation_weight": 0.5, "alignment_weight": 0.25, "recognition_weight": 2.0}
    model = tiny_separator("audiovisual", objective=weights)
    batch, queries = of_pictures()
    with torch.no_grad():
        output = model.loss(batch, queries, rng(0))
    terms = output.terms
    expected = (
        terms["mask_bce"]
        + 0.5 * terms["localisation"]
        + 0.25 * terms["alignment"]
        + 2.0 * terms["recognition"]
    )
    torch.testing.assert_close(output.total, expected, atol=1e-5, rtol=1e-5)  # float32 sums
    assert output.total[3] == 0  # of which nothing is queried


def test_alignment_learns_from_the_mixed_picture(model: Any) -> None:
    batch, queries = of_pictures()
    assert queries.tokens is not None
    tokens = queries.tokens.clone().requires_grad_()
    output = model.loss(batch, dataclasses.replace(queries, tokens=tokens), rng(0))
    output.total.sum().backward()
    assert tokens.grad is not None
    assert (tokens.grad[:3, 3, :-1].abs().amax(dim=(1, 2)) > 0).all()
    assert tokens.grad[:, :, -1].abs().max() == 0  # padding
    assert tokens.grad[3].abs().max() == 0


def test_rows_that_the_encoder_cannot_halve_are_refused() -> None:
    spectrogram = CLIPSEP["spectrogram"] | {"num_rows": 20}
    with pytest.raises(ValueError, match="num_rows is 20; expected a multiple of 8"):
        build_separator("audiovisual", {"channels": [3, 4, 5], "spectrogram": spectrogram})

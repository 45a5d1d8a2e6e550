"""Example recordings read as phrases of a model's book."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from qsep.queries.interface import (
    AudioQuery,
    ImageQuery,
    MixedQuery,
    Query,
    QueryEmbedding,
    QueryEncoder,
    TextQuery,
)
from qsep.recipes.data.synthetic import synthesize
from qsep.separation.api import load
from qsep.separation.inference.examples import ClassedExamples, DescribedExamples

RATE = 32000


class Words(QueryEncoder):
    """Every text is the second of three axes."""

    config = None
    dim = 3
    modalities: frozenset[type[Query]] = frozenset({TextQuery})
    fingerprint = "words"

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        return QueryEmbedding(torch.tensor([[0.0, 1.0, 0.0]]).repeat(len(queries), 1))


class Joint:
    """Phrases lie in the plane by their first two entries; every recording lies at (0.6, 0.8)."""

    fingerprint = "joint"

    class network:  # noqa: N801 an attribute of the encoder
        @staticmethod
        def text(pooled: torch.Tensor) -> torch.Tensor:
            return pooled[:, :2]

        @staticmethod
        def scale() -> torch.Tensor:
            return torch.tensor(2.0)

    def vector(self, query: Query) -> torch.Tensor:
        return torch.tensor([0.6, 0.8])


def example() -> AudioQuery:
    return AudioQuery(np.ones(40, np.float32), sample_rate=RATE)


def described(phrases: torch.Tensor) -> DescribedExamples:
    encoder = DescribedExamples(Words(), phrases)
    vars(encoder)["joint"] = Joint()  # in place of the cached property
    return encoder


def test_an_example_is_the_mean_of_its_nearest_phrases() -> None:
    pooled = described(torch.eye(3)).encode([TextQuery("a"), example()]).pooled
    assert pooled[0].tolist() == [0.0, 1.0, 0.0]
    weights = np.exp(2 * np.array([0.6, 0.8, 0.0]))  # the softmax up to its sum
    np.testing.assert_allclose(pooled[1], weights / np.linalg.norm(weights), rtol=1e-5)


def test_words_and_recordings_mix_at_their_weights() -> None:
    encoder = described(torch.eye(3))
    mixed = MixedQuery("a", example(), weights=(3.0, 1.0))
    word, sound = encoder.encode([TextQuery("a"), example()]).pooled
    mean = 0.75 * word + 0.25 * sound
    torch.testing.assert_close(encoder.encode([mixed]).pooled[0], mean / mean.norm())


def test_classes_under_three_tenths_of_the_loudest_are_no_part_of_an_example(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shares = torch.tensor([0.16, 0.5, 0.14, 0.2])  # of the energy; the last is of no class
    monkeypatch.setattr(ClassedExamples, "shares", lambda self, recording: shares)
    separator: Any = None
    degrees = ClassedExamples(Words(), separator).encode([example()]).pooled
    torch.testing.assert_close(degrees, torch.tensor([[0.32, 1.0, 0.0, 0.0]]))


def test_pictures_are_still_refused() -> None:
    model = load()
    with pytest.raises(ValueError, match="not image"):
        model.separate(np.ones(9, np.float32), ImageQuery(np.zeros((4, 5, 3), np.uint8)))


def test_the_default_model_follows_an_example() -> None:
    """A click train is a clock, hiss is rain: each example takes out its own kind."""
    rng = np.random.default_rng(5)
    clock, rain, other_rain = (
        synthesize(kind, rng, 3 * RATE, RATE) for kind in ("clock_tick", "rain", "rain")
    )
    scale = np.sqrt(np.mean(clock**2) / np.mean(rain**2))
    result = load().separate(
        clock + scale * rain, AudioQuery(other_rain, sample_rate=RATE), sample_rate=RATE
    )
    error = result.target - scale * rain
    assert 10 * np.log10(np.sum((scale * rain) ** 2) / np.sum(error**2)) > 3
    assert result.level_db == pytest.approx(-3, abs=2)

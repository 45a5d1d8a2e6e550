"""qsep.evaluation.metrics.perceptual against closed forms and SciPy's matrix square root."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from tiny import StubEncoder

from qsep.evaluation.metrics.perceptual import EncoderEmbedder, cosine, frechet_distance
from qsep.queries.interface import AudioQuery, Query, QueryEmbedding, TextQuery


def test_frechet_distance_equals_the_formula_with_scipys_square_root() -> None:
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(1)
    first = rng.normal(0, 1, (40, 7)) @ rng.normal(0, 1, (7, 7))
    second = 0.3 + rng.normal(0, 1, (53, 7)) @ rng.normal(0, 1, (7, 7))
    covariances = [np.cov(vectors, rowvar=False) for vectors in (first, second)]
    root = sqrtm(covariances[0] @ covariances[1]).real
    expected = np.square(first.mean(axis=0) - second.mean(axis=0)).sum()
    expected += np.trace(covariances[0] + covariances[1] - 2 * root)
    # 1e-9: sqrtm of a product that is not symmetric loses some digits
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("num_rows", [5, 90])  # fewer and more than dimensions
def test_frechet_distance_of_scaled_and_shifted_sets_is_known(num_rows: int) -> None:
    vectors = np.random.default_rng(2).normal(0, 1, (num_rows, 11))
    centred = vectors - vectors.mean(axis=0)
    shift = np.linspace(-1, 2, 11)
    trace = np.square(centred).sum() / (num_rows - 1)
    # covariances C and 9 C: tr(C + 9 C - 6 C)
    expected = np.square(shift).sum() + 4 * trace
    assert frechet_distance(centred, shift - 3 * centred) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(vectors, vectors) == pytest.approx(0, abs=1e-9 * trace)


def test_sets_that_have_no_covariance_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 2 embeddings .* \(1, 3\) and \(4, 3\)"):
        frechet_distance(np.ones((1, 3)), np.ones((4, 3)))


def test_cosine_by_hand() -> None:
    assert cosine([3, 4], [4, 3]) == pytest.approx(0.96)
    assert cosine([0, 0], [4, 3]) == 0


class Hearing(StubEncoder):
    """Embeds a recording as its mean and rate, a text as StubEncoder does."""

    modalities = frozenset({TextQuery, AudioQuery})

    def encode(self, queries: Sequence[Query]) -> QueryEmbedding:
        (query,) = queries
        if not isinstance(query, AudioQuery):
            return super().encode(queries)
        (recording,) = query.examples
        assert isinstance(recording.source, np.ndarray)
        return QueryEmbedding(torch.tensor([[recording.source.mean(), recording.sample_rate]]))


def test_any_encoder_of_audio_is_an_embedding() -> None:
    embedder = EncoderEmbedder(Hearing(fingerprint="ears"))
    embedded = embedder.embed_audio(np.array([0.5, 1.0, 0.0], dtype=np.float32), 8000)
    assert embedded.tolist() == [0.5, 8000.0]
    expected = StubEncoder(fingerprint="ears").encode([TextQuery("rain")]).pooled[0]
    in_words = embedder.embed_text("rain")
    assert in_words is not None
    assert np.array_equal(in_words, expected.double().numpy())
    assert embedder.fingerprint == "ears"


def test_an_encoder_without_text_scores_no_text() -> None:
    class Deaf(Hearing):
        modalities = frozenset({AudioQuery})

    assert EncoderEmbedder(Deaf()).embed_text("rain") is None


def test_an_encoder_without_audio_is_refused() -> None:
    with pytest.raises(ValueError, match="stub reads no recordings"):
        EncoderEmbedder(StubEncoder())

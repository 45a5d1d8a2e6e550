"""qsep.queries.networks.phrase_classifier: its attention against NumPy, and its effect on queries."""

import numpy as np
import pytest
import torch
from tiny import noise, rng, unit_vectors

from qsep.queries.networks.phrase_classifier import SHARPNESS, PhraseClassifier, add_noise

# Of nine phrases; 3 is "something else" for a classifier of three.
CLASSES = [
    2,
    0,
    1,
    3,
    0,
    2,
    3,
    1,
    1,
]
HALF_ULP = 2.0**-11  # the book is kept in float16: a cosine is right to this, times SHARPNESS


def classifier(phrases: torch.Tensor, classes: list[int], num_classes: int = 3) -> PhraseClassifier:
    network = PhraseClassifier(phrases.shape[1], num_classes, len(phrases))
    network.store(phrases, torch.tensor(classes))
    return network


def test_probabilities_are_a_softmax_over_phrases_summed_by_class() -> None:
    phrases, queries = unit_vectors(9, 11, seed=1), unit_vectors(2, 4, 11, seed=2)
    probabilities = classifier(phrases, CLASSES)(queries)
    weights = np.exp(SHARPNESS * np.einsum("bsd,pd->bsp", queries.double(), phrases.double()))
    for number in range(4):
        chosen = [index for index, value in enumerate(CLASSES) if value == number]
        expected = weights[..., chosen].sum(axis=-1) / weights.sum(axis=-1)
        # a cosine off by half an ulp of float16 changes exp(30 cosine) by 1.5 %
        np.testing.assert_allclose(
            probabilities[..., number], expected, rtol=2 * SHARPNESS * HALF_ULP, atol=1e-7
        )


def test_probabilities_sum_to_one() -> None:
    total = classifier(unit_vectors(9, 11), CLASSES)(unit_vectors(2, 4, 11, seed=3)).sum(dim=-1)
    torch.testing.assert_close(total, torch.ones(2, 4), rtol=0, atol=1e-6)  # float32 sum of nine


def test_a_phrase_of_the_book_is_given_its_class() -> None:
    phrases = torch.eye(9, 11)
    probabilities = classifier(phrases, CLASSES)(phrases)
    assert probabilities.argmax(dim=-1).tolist() == CLASSES
    assert probabilities.amax(dim=-1).min() > 0.999  # the others are at right angles: exp(-30) each


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_only_the_direction_of_a_query_counts(factor: float) -> None:
    network, queries = classifier(7 * unit_vectors(9, 11), CLASSES), unit_vectors(5, 11, seed=4)
    # Float32.
    torch.testing.assert_close(network(factor * queries), network(queries), rtol=1e-4, atol=1e-6)


def test_nearest_names_the_class_and_the_cosine() -> None:
    phrases, queries = unit_vectors(9, 11, seed=5), 3 * unit_vectors(5, 11, seed=6)
    classes, similarity = classifier(phrases, CLASSES).nearest(queries)
    cosines = (queries / 3).numpy() @ phrases.numpy().T
    cosines[:, np.array(CLASSES) == 3] = -2  # "something else" is no class to name
    assert classes.tolist() == [CLASSES[index] for index in cosines.argmax(axis=1)]
    np.testing.assert_allclose(similarity, cosines.max(axis=1), atol=2 * HALF_ULP, rtol=0)


def test_a_query_like_something_else_names_the_nearest_known_class() -> None:
    phrases = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.6, 0.8]])
    network = classifier(phrases, [0, 1, 2], num_classes=2)
    query = torch.tensor([[0.0, 0.6, 0.8]])
    assert network(query)[0, 2] > 0.99
    nearest, similarity = network.nearest(query)
    assert nearest.tolist() == [1]
    assert similarity.item() == pytest.approx(0.6, abs=2 * HALF_ULP)


def test_a_book_that_grew_reads_its_new_phrase_and_the_old_ones_as_before() -> None:
    basis = torch.eye(11)
    small, grown = classifier(basis[:9], CLASSES), classifier(basis[:10], [*CLASSES, 1])
    assert small(basis[9:10]).amax() < 0.5  # at right angles to all: undecided
    assert grown(basis[9:10])[0, 1] > 0.999
    # exp(-30) = 1e-13 for the phrase that came
    torch.testing.assert_close(grown(basis[:9]), small(basis[:9]), rtol=0, atol=1e-6)


def test_an_optimiser_finds_nothing_to_change() -> None:
    network = classifier(unit_vectors(9, 11), CLASSES)
    assert list(network.parameters()) == []
    assert set(network.state_dict()) == {"phrases", "concepts"}


@pytest.mark.parametrize("shape", [(1, 11), (9, 1), (8, 11)])
def test_a_book_of_another_size_is_refused_and_not_repeated(shape: tuple[int, int]) -> None:
    with pytest.raises(AssertionError):
        classifier(unit_vectors(9, 11), CLASSES).store(unit_vectors(*shape), torch.tensor(CLASSES))


def test_noise_has_the_norm_that_was_given() -> None:
    queries = unit_vectors(300, 2, 64)
    norms = (add_noise(queries, 0.5, rng(7)) - queries).norm(dim=-1)
    # chi distribution: root mean square exactly 0.5, spread 0.5 / sqrt(2 * 64) = 0.044
    assert norms.square().mean().sqrt().item() == pytest.approx(0.5, abs=0.005)
    assert norms.std().item() == pytest.approx(0.044, abs=0.005)


def test_noise_depends_on_the_generator_alone() -> None:
    queries = noise(3, 2, 5)
    torch.testing.assert_close(
        add_noise(queries, 0.5, rng(1)), add_noise(queries, 0.5, rng(1)), rtol=0, atol=0
    )
    assert not torch.equal(add_noise(queries, 0.5, rng(1)), add_noise(queries, 0.5, rng(2)))
    assert torch.equal(add_noise(queries, 0.0, rng(1)), queries)

"""The contrastive loss against PyTorch's cross-entropy and a calculation in NumPy."""

import numpy as np
import pytest
import torch
from tiny import unit_vectors

from qsep.separation.objectives.contrastive import soft_contrastive_loss


@pytest.mark.parametrize("scale", [1.0, 9.0])
def test_with_one_match_each_the_loss_is_that_of_clip(scale: float) -> None:
    first, second = unit_vectors(5, 7, seed=1), unit_vectors(5, 7, seed=2)
    logits, order = scale * first @ second.T, torch.arange(5)
    expected = torch.nn.functional.cross_entropy(logits, order, reduction="none")
    expected = (expected + torch.nn.functional.cross_entropy(logits.T, order, reduction="none")) / 2
    torch.testing.assert_close(soft_contrastive_loss(first, second, torch.eye(5), scale), expected)


def test_all_items_of_equal_meaning_are_positives() -> None:
    first, second = unit_vectors(4, 3, seed=3), unit_vectors(4, 3, seed=4)
    alike = torch.eye(4)
    alike[0, 2] = alike[2, 0] = 1.0
    actual = soft_contrastive_loss(first, second, alike, 2.0)
    similarity = 2 * (first.double() @ second.double().T).numpy()
    forwards = similarity - np.log(np.exp(similarity).sum(axis=1, keepdims=True))
    backwards = similarity.T - np.log(np.exp(similarity.T).sum(axis=1, keepdims=True))
    expected = -(forwards[0, 0] + forwards[0, 2] + backwards[0, 0] + backwards[0, 2]) / 4
    assert actual[0].item() == pytest.approx(expected, rel=1e-6)
    assert actual[1].item() == pytest.approx(-(forwards[1, 1] + backwards[1, 1]) / 2, rel=1e-6)

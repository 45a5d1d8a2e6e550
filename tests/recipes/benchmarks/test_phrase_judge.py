"""qsep.recipes.benchmarks.quality.phrase_judge: costs against a calculation by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor

from qsep.recipes.benchmarks.quality.phrase_judge import judge


class Plain:
    """Sounds of three samples are their own embeddings, but for their norm."""

    sample_rate = 8_000

    def embed_sound(self, waveform: Tensor) -> Tensor:
        return torch.nn.functional.normalize(waveform, dim=-1)

    def similarity_scale(self) -> float:
        return 2.0


def test_a_sound_is_judged_alone_or_with_those_that_follow_it() -> None:
    waveforms, phrases = torch.diag(torch.tensor([3.0, 2.0, 1.0])), torch.eye(3)
    alone = judge(Plain(), waveforms, phrases, 1, 8_000, 2.0)
    assert alone == pytest.approx((-np.log(np.exp(2) / (np.exp(2) + 2)), 1.0))
    # (3, 2, 0), (0, 2, 1) and (3, 0, 1): the last one is nearest to the first phrase.
    pair = judge(Plain(), waveforms, phrases, 2, 8_000, 2.0)
    costs = []
    for index, heard in enumerate(((3, 2, 0), (0, 2, 1), (3, 0, 1))):
        odds = np.exp(2 * np.array(heard) / np.linalg.norm(heard))
        costs.append(-np.log(odds[index] / odds.sum()))
    assert pair == pytest.approx((np.mean(costs), 2 / 3))

"""The voice U-Net: what it hears in an example, and its contrastive loss."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from tiny import mixture_batch, noise, rng, tiny_separator
from tiny_settings import QUERY_DIM, RATE

from qsep.queries.encoders.spectrogram import Config, Spectrogram
from qsep.queries.interface import AudioQuery, QueryEmbedding
from qsep.separation.components import build_separator
from qsep.separation.models.voice_unet import contrastive_loss, mask_entropy


def embedded(*examples: torch.Tensor) -> QueryEmbedding:
    """Examples (t,) at RATE as queries of the tiny separator, pooled (s, d)."""
    encoder = Spectrogram(Config(RATE, 2 * (QUERY_DIM - 1)))
    return encoder.encode([AudioQuery(e.numpy(), sample_rate=RATE) for e in examples])


def test_an_examples_vector_has_unit_norm_and_ignores_its_level() -> None:
    separator, example = tiny_separator("voice_unet"), noise(901, seed=3)
    with torch.inference_mode():
        loud, soft = separator.vectors(embedded(example, 0.1 * example))
    assert loud.norm().item() == pytest.approx(1, abs=1e-6)  # float32
    torch.testing.assert_close(loud, soft, atol=1e-4, rtol=0)  # logarithms in float32


def test_a_shorter_example_gives_the_same_vector_beside_a_longer_one() -> None:
    separator, short, long = tiny_separator("voice_unet"), noise(601, seed=1), noise(2002, seed=2)
    with torch.inference_mode():
        together = separator.vectors(embedded(short, long))
        alone = separator.vectors(embedded(short))
    torch.testing.assert_close(together[0], alone[0], atol=1e-5, rtol=0)  # float32


def test_a_live_stream_equals_the_recording_at_once_for_each_example() -> None:
    separator, mixture = tiny_separator("voice_unet"), noise(2, 1601)
    queries = embedded(noise(701, seed=1), noise(902, seed=2), noise(803, seed=3))
    with torch.inference_mode():
        whole = separator.separate(mixture[None], queries.map(lambda entry: entry[None])).target[0]
    live = separator.live(queries, 2)
    blocks = [block for part in mixture.split([3, 700, 898], dim=-1) for block in live.push(part)]
    streamed = torch.cat([*blocks, *live.finish()], dim=-1)
    torch.testing.assert_close(streamed, whole, atol=1e-5, rtol=0)  # float32 in another order


def test_the_encoder_runs_once_whatever_the_number_of_queries() -> None:
    separator = tiny_separator("voice_unet")
    seen = []
    separator.unet.downs[0].register_forward_hook(lambda *call: seen.append(call[2].shape[0]))
    queries = embedded(noise(701, seed=1), noise(902, seed=2)).map(lambda entry: entry[None])
    with torch.inference_mode():
        separator.separate(noise(1, 1, 800), queries)
    assert seen == [1]


def test_the_contrastive_loss_is_the_cross_entropy_of_cosines_over_present_voices() -> None:
    vectors = torch.tensor([[[1.0, 0.0], [0.6, 0.8]], [[0.0, 1.0], [1.0, 0.0]]])
    voices = torch.tensor([[0.8, 0.6], [0.0, 1.0], [0.6, 0.8], [1.0, 0.0]])
    present = torch.tensor([[True, True], [True, False]])
    actual = contrastive_loss(vectors, voices, present)
    # first example: cosines 0.8, 0 and 0.6 to the voices that are there, over a temperature of 0.1
    expected = -8 + math.log(math.exp(8) + 1 + math.exp(6))
    assert actual[0, 0].item() == pytest.approx(expected, rel=1e-5)
    assert actual.isfinite().all()


def test_a_mask_equal_to_the_ideal_one_has_its_entropy() -> None:
    energy = torch.tensor([[[[1.0], [3.0]]]])  # (b, s, k, n) = (1, 1, 2, 1)
    mixture = torch.tensor([[[4.0], [4.0]]])
    ideal = torch.tensor([0.25, 0.75])
    odds = (ideal / (1 - ideal)).log()[None, None, :, None]
    expected = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert mask_entropy(odds, energy, mixture).item() == pytest.approx(expected, rel=1e-5)
    assert mask_entropy(odds.flip(2), energy, mixture).item() > expected + 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"query_dim": 320}, "the bins of a window, 321"), ({"num_bands": 72}, "a multiple of 32")],
)
def test_settings_that_do_not_fit_together_are_refused(
    changes: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build_separator("voice_unet", changes)


def test_unqueried_slots_change_nothing() -> None:
    separator = tiny_separator("voice_unet")
    batch, queries = mixture_batch(2001)
    first = [[row[0], row[1], None] for row in batch.queries]
    batch = dataclasses.replace(batch, queries=first)
    merged = dataclasses.replace(
        batch, sources=batch.sources[:, :2], queries=[row[:2] for row in first]
    )
    with torch.no_grad():
        whole = separator.loss(batch, queries, rng(0)).total
        part = separator.loss(merged, queries.map(lambda entry: entry[:, :2]), rng(0)).total
    torch.testing.assert_close(part, whole, atol=1e-6, rtol=0)


def test_a_sine_has_half_its_amplitude_times_the_sum_of_the_window() -> None:
    encoder = Spectrogram(Config(8000, 64))
    sine = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000).astype(np.float32)
    frames = encoder.encode([AudioQuery(sine, sample_rate=8000)]).tokens
    assert frames is not None
    window = np.sqrt(np.hanning(65)[:64])
    expected = (0.5 / 2 * window.sum()) ** 2 / 64
    assert frames[0, 50, 8].exp().item() == pytest.approx(
        expected, rel=5e-3
    )  # its other half leaks

"""What is particular to qsep.separation.models.convtasnet."""

import sys
from statistics import mean
from typing import Any

import numpy as np
import pytest
import torch
from tiny import mixture_batch, noise, rng, text_of, tiny_separator, unit_vectors
from tiny_settings import QUERY_DIM, RATE
from torch import Tensor, nn

from qsep.evaluation.metrics.sdr import si_sdr
from qsep.queries.interface import QueryEmbedding
from qsep.recipes.data.mixtures.augment import AugmentConfig
from qsep.recipes.data.mixtures.mix_and_separate import MixAndSeparate, MixConfig
from qsep.recipes.data.mixtures.synthetic import SyntheticSounds
from qsep.recipes.data.wording import PhraseBook
from qsep.recipes.training.config import read_recipe
from qsep.separation.components import build_separator
from qsep.separation.interface import MixtureBatch
from qsep.separation.models.convtasnet import relative_to_level


def queries(batch: int = 2, num: int = 3) -> QueryEmbedding:
    return QueryEmbedding(unit_vectors(batch, num, QUERY_DIM, seed=9))


def let_everything_through(separator: Any) -> None:
    """Masks of 1, and filters that pass each sample as its positive and its negative part."""
    size = separator.config.kernel_samples
    separator.masker.mask_net[-1].bias.data.fill_(100)
    both = torch.cat([torch.eye(size), -torch.eye(size)])[:, None]
    separator.encoder.filterbank._filters.data = both
    separator.decoder.filterbank._filters.data = both / 2  # every sample lies under two frames


@pytest.mark.parametrize("num_samples", [1, 8, 15, 333])
def test_filters_and_masks_that_change_nothing_give_the_mixture_back(num_samples: int) -> None:
    separator = tiny_separator("convtasnet", num_filters=32)
    let_everything_through(separator)
    mixture = noise(2, 3, num_samples)
    with torch.no_grad():
        target = separator.separate(mixture, queries(2, 4)).target
    # 1e-7: halves are exact, sums of two of them are rounded once
    torch.testing.assert_close(target, mixture[:, None].expand(2, 4, 3, -1), atol=1e-7, rtol=0)


def test_sounds_of_opposite_phase_in_two_channels_are_not_silence_to_the_masker() -> None:
    separator, left = tiny_separator("convtasnet"), noise(1, 1, 641)
    masks = []
    for mixture in (torch.cat([left, -left], dim=1), torch.zeros(1, 2, 641)):
        with torch.no_grad():
            masks.append(separator.masks(separator.encode(mixture).mean(dim=1), queries(1).pooled))
    assert (masks[0] - masks[1]).abs().mean() > 0.01


def test_without_modulation_all_queries_get_the_same() -> None:
    separator = tiny_separator("convtasnet")
    nn.init.zeros_(separator.modulation.weight)
    with torch.no_grad():
        target = separator.separate(noise(2, 1, 641), queries()).target
    # 1e-6: convolutions may sum in another order
    torch.testing.assert_close(
        target[:, 1:], target[:, :1].expand(-1, 2, -1, -1), atol=1e-6, rtol=0
    )


def test_features_are_relative_to_the_root_mean_square_of_the_frames_around() -> None:
    features = noise(2, 3, 50).abs()
    paths = relative_to_level(features, 4)
    for frame in (0, 3, 25, 49):
        around = features[..., max(0, frame - 4) : frame + 5].double()
        expected = features[..., frame] / around.square().mean(dim=(1, 2))[:, None].sqrt()
        torch.testing.assert_close(paths[..., frame].double(), expected, rtol=1e-5, atol=0)


def direct_loss(target: Tensor, batch: MixtureBatch, item: int, weight: float) -> tuple[float, ...]:
    """(total, present, absent) of an item of mixture_batch, in float64, with a limit of 20 dB."""
    present, absent = [], []
    for source, query in enumerate(batch.queries[item]):
        if query is None:
            continue
        truth = batch.sources[item, source].double().numpy()
        error = ((target[item, source].double().numpy() - truth) ** 2).sum()
        if truth.any():
            present.append(10 * np.log10(error / (truth**2).sum() + 0.01))
        else:
            mixture = batch.mixture[item].double().numpy()
            absent.append(10 * np.log10(error / (mixture**2).sum() + 0.01))
    total = sum(present) + weight * sum(absent)
    total /= len(present) + weight * len(absent)
    return total, float(np.mean(present)), float(np.mean(absent)) if absent else np.nan


def test_the_loss_is_the_thresholded_snr_of_what_separate_returns() -> None:
    separator = tiny_separator("convtasnet", absent_weight=0.3, snr_limit_db=20.0)
    batch, embedding = mixture_batch()
    with torch.no_grad():
        target = separator.separate(batch.mixture, embedding).target
        output = separator.loss(batch, embedding, rng(0))
    values = torch.stack([output.total, output.terms["present"], output.terms["absent"]], dim=1)
    expected = [direct_loss(target, batch, item, 0.3) for item in range(4)]
    # 1e-4 dB: float32 energies
    np.testing.assert_allclose(values, expected, atol=1e-4, rtol=0)


def test_the_context_is_the_maskers_reach_with_the_levels_and_one_filter() -> None:
    separator = tiny_separator("convtasnet")
    # two repeats of dilations 1, 2, 4, twenty frames of level, 8 samples a frame, filters of 16
    assert separator.context_samples == (2 * 7 + 20) * 8 + 16
    position = 100 * 8
    mixture = noise(1, 1, 3001).requires_grad_()
    separator.separate(mixture, queries(1, 1)).target[0, 0, 0, position].backward()
    assert mixture.grad is not None
    seen = mixture.grad[0, 0].nonzero()[:, 0]
    farthest = max(position - int(seen.min()), int(seen.max()) - position)
    assert separator.context_samples - 8 <= farthest <= separator.context_samples


def test_an_odd_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel_samples is 15; expected an even number"):
        tiny_separator("convtasnet", kernel_samples=15)


def test_without_asteroid_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asteroid.masknn", None)
    with pytest.raises(ValueError, match=r"pip install 'qsep\[asteroid\]'"):
        tiny_separator("convtasnet")


LABELS = ("bass_drum", "clock_tick", "flute")
SOUNDS = PhraseBook(LABELS, LABELS, {label: (label,) for label in LABELS}, ("a siren",))
MIX = MixConfig(
    segment_samples=8000,
    num_sources_weights=(1.0,),
    num_queries=3,
    max_absent=1,
    other_probability=0.0,
    augment=AugmentConfig(speed_probability=0.0, filter_probability=0.0, reverb_probability=0.0),
)


def items(seed: int) -> MixAndSeparate:
    return MixAndSeparate(SyntheticSounds(LABELS, RATE), SOUNDS, MIX, RATE, seed)


def embeddings(batch: MixtureBatch) -> QueryEmbedding:
    """One-hot; every slot of these items asks for some label."""
    texts = [[text_of(query) for query in row if query] for row in batch.queries]
    return QueryEmbedding(
        torch.tensor(
            [[[float(label == text) for label in LABELS] for text in row] for row in texts]
        )
    )


def scores(separator: Any) -> tuple[float, float]:
    """Mean loss, and mean SI-SDR improvement of present sounds in dB, on mixtures not trained on."""
    data = items(seed=1)
    batch = data.collate([data[draw] for draw in range(16)])
    embedding = embeddings(batch)
    separator.eval()
    with torch.no_grad():
        loss = separator.loss(batch, embedding, rng(0)).total.mean()
        target = separator.separate(batch.mixture, embedding).target
    present = batch.sources.abs().amax(dim=(-2, -1)) > 0
    mixture = batch.mixture[:, None].expand_as(target)
    improvements = [
        float(si_sdr(target[index][0], batch.sources[index][0]))
        - float(si_sdr(mixture[index][0], batch.sources[index][0]))
        for index in map(tuple, present.nonzero().tolist())
    ]
    return float(loss), mean(improvements)


@pytest.mark.slow
def test_a_few_dozen_steps_lower_the_loss_and_separate_unseen_mixtures() -> None:
    torch.manual_seed(0)
    separator = build_separator(
        "convtasnet",
        {
            "query_dim": 3,
            "sample_rate": RATE,
            "kernel_samples": 32,
            "num_filters": 64,
            "bottleneck_channels": 32,
            "hidden_channels": 48,
            "num_blocks": 5,
            "num_repeats": 1,
            "level_frames": 100,
        },
    )
    before = scores(separator)
    optimizer = torch.optim.Adam(separator.parameters(), lr=5e-3)
    data = items(seed=0)
    for step in range(40):
        separator.train()
        batch = data.collate([data[8 * step + item] for item in range(8)])
        loss = separator.loss(batch, embeddings(batch), rng(step)).total.mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(separator.parameters(), 5.0)
        optimizer.step()
    after = scores(separator)
    # measured: -1.4 to -10 dB in the loss, -25 to 9 dB in SI-SDR improvement
    assert after[0] < before[0] - 5
    assert before[1] < 0
    assert after[1] > 5


def test_the_recipe_uses_the_default_models_training_data() -> None:
    recipe, base = read_recipe("convtasnet-sounds21")[0], read_recipe("sounds21")[0]
    assert (recipe.data, recipe.augment) == (base.data, base.augment)
    settings = dict(recipe.model)
    assert build_separator(settings.pop("kind"), settings).sample_rate == 32000

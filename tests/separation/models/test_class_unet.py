"""The class U-Net: queries are fuzzy sets of classes, and its masks follow their algebra."""

from typing import Any

import pytest
import torch
from tiny import mixture_batch, noise, rng, tiny_separator
from tiny_settings import RATE, SETTINGS

from qsep.queries.interface import QueryEmbedding
from qsep.recipes.training.initial_weights.start import widened
from qsep.separation.components import build_separator
from qsep.separation.models.class_unet import loudness
from qsep.separation.signal.spectra import squared_magnitude


@pytest.fixture(name="separator")
def built() -> Any:
    return tiny_separator("class_unet")


def class_features(separator: Any) -> torch.Tensor:
    return noise(2, separator.config.features, 5, 7, seed=3) * 30


def probabilities(separator: Any, *degrees: list[float]) -> torch.Tensor:
    """(b, s, k, n): sigmoids of the first mask's log odds."""
    queries = torch.tensor([degrees, degrees], dtype=torch.float32)
    return separator.log_odds(class_features(separator), queries).sigmoid()


def test_the_mask_of_a_query_is_the_sum_of_its_classes_posteriors(separator: Any) -> None:
    masks = probabilities(separator, [1, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0], [1, 0, 1, 0, 0, 0])
    # 1e-6: float32
    torch.testing.assert_close(masks[:, 0] + masks[:, 1], masks[:, 2], atol=1e-6, rtol=0)
    assert masks.std() > 0.05


def test_the_mask_of_a_complement_is_one_minus_that_of_the_query(separator: Any) -> None:
    masks = probabilities(separator, [1, 0, 0, 1, 0, 0], [0, 1, 1, 0, 1, 1])
    torch.testing.assert_close(masks[:, 0], 1 - masks[:, 1], atol=1e-6, rtol=0)


def test_everything_but_a_class_is_the_residual_of_the_class(separator: Any) -> None:
    mixture, dog = noise(2, 3, 1601), torch.eye(6)[None, :1].repeat(2, 1, 1)
    queries = QueryEmbedding(torch.cat([dog, 1 - dog], dim=1))
    with torch.inference_mode():
        separated = separator.separate(mixture, queries)
    # 1e-6: float32
    torch.testing.assert_close(
        separated.target[:, 1], separated.residual[:, 0], atol=1e-6, rtol=1e-5
    )
    assert separated.target[:, 0].std() > 0.01 * mixture.std()


def test_half_a_degree_is_half_the_posterior(separator: Any) -> None:
    masks = probabilities(separator, [0, 1, 0, 0, 0, 0], [0, 0.5, 0, 0, 0, 0])
    torch.testing.assert_close(masks[:, 0] / 2, masks[:, 1], atol=1e-6, rtol=0)


def test_before_training_the_second_mask_is_the_first() -> None:
    separator = build_separator("class_unet", SETTINGS["class_unet"]).eval()
    energy = squared_magnitude(separator.spectrum(noise(2, 1, 641))).mean(dim=1)
    features = separator.features(separator.gather(energy))
    first, second = separator.masks(features, torch.eye(6)[None, :3].repeat(2, 1, 1))
    assert first.shape == second.shape == (2, 3, 32, energy.shape[-1])
    assert torch.equal(first, second)


def test_shares_of_the_classes_sum_to_the_mixtures_energy(separator: Any) -> None:
    mixture = noise(2, 3, 1601)
    shares = separator.class_analysis(mixture).shares()
    energy = squared_magnitude(separator.spectrum(mixture)).mean(dim=1).sum(dim=(1, 2))
    assert shares.shape[:2] == (2, 6)
    torch.testing.assert_close(shares.sum(dim=(1, 2)), energy, rtol=1e-6, atol=0)


def test_overlaps_are_products_of_posteriors_weighted_by_loudness(separator: Any) -> None:
    mixture = noise(2, 3, 1601)
    overlaps = separator.class_analysis(mixture).overlaps()
    energy = separator.gather(squared_magnitude(separator.spectrum(mixture)).mean(dim=1))
    classing = separator.features(energy).classing
    posteriors = separator.posteriors(classing).unflatten(1, classing.shape[-2:])
    loud = loudness(energy)
    expected = torch.zeros(2, 6, 6)
    for band in range(loud.shape[1]):
        for frame in range(loud.shape[2]):  # each bin of the coarse grid has two bands and frames
            vector = posteriors[:, band // 2, frame // 2]
            expected += loud[:, band, frame, None, None] * vector[:, :, None] * vector[:, None]
    torch.testing.assert_close(overlaps, expected, rtol=1e-4, atol=1e-5)  # float32 sums
    torch.testing.assert_close(overlaps.sum(dim=(1, 2)), loud.sum(dim=(1, 2)), rtol=1e-5, atol=0)


def test_the_loss_of_a_query_for_everything_is_the_level_of_the_rest() -> None:
    """A mask of ones leaves the mixture: the error is the energy of the other sources, tau = 1e-3."""
    separator = tiny_separator("class_unet")
    batch, _ = mixture_batch()
    everything = QueryEmbedding(torch.ones(*batch.sources.shape[:2], 6))
    present = separator.loss(batch, everything, rng(0)).terms["present"]
    spec = separator.spectrum(batch.mixture)
    for item, row in enumerate(batch.queries):
        levels = []
        for source, query in zip(batch.sources[item], row, strict=True):
            if query is not None and source.any():
                source_spec = separator.spectrum(source[None])
                energy = squared_magnitude(source_spec).sum()
                rest = squared_magnitude(spec[item : item + 1] - source_spec).sum()
                levels.append(10 * torch.log10(rest / energy + 1e-3))
        # 1e-3 dB: the mask of ones is sigmoid(15)
        torch.testing.assert_close(present[item], torch.stack(levels).mean(), atol=1e-3, rtol=0)


def test_a_widened_network_gives_the_output_of_the_narrow_one() -> None:
    """Of the U-Net alone: its deepest level gets more channels."""
    settings = {
        "classes": ["a", "b", "c"],
        "sample_rate": RATE,
        "window_samples": 64,
        "hop_samples": 32,
    }
    settings |= {"num_bands": 32, "blocks": [1, 2, 1, 1, 2], "features": 8, "refine_features": 5}
    narrow = build_separator("class_unet", settings | {"channels": [4, 6, 8, 10, 11]}).eval()
    wide = build_separator("class_unet", settings | {"channels": [4, 6, 8, 10, 15]}).eval()
    planes = noise(2, 3, 32, 32, scale=1.0)
    # Norms with statistics of data: with initial ones the deepest level is too quiet to matter.
    torch.optim.swa_utils.update_bn([planes], narrow.unet)
    wide.load_state_dict(widened(wide.state_dict(), narrow.state_dict()))
    with torch.inference_mode():
        torch.testing.assert_close(wide.unet(planes), narrow.unet(planes), atol=1e-5, rtol=1e-5)

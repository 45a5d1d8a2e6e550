"""The flow separator: its velocity and paths against those of normal distributions, and its use."""

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from tiny import mixture_batch, noise, rng, tiny_separator, unit_vectors
from tiny_settings import QUERY_DIM, RATE, SETTINGS

from qsep.queries.interface import QueryEmbedding
from qsep.separation.components import build_separator
from qsep.separation.models.flow_unet import Scene, power
from qsep.separation.signal.stft import istft


def random_embedding(batch: int, num: int) -> QueryEmbedding:
    return QueryEmbedding(unit_vectors(batch, num, QUERY_DIM, seed=9))


def with_settings(**changes: Any) -> Any:
    separator = tiny_separator("flow_unet")
    separator.config = dataclasses.replace(separator.config, **changes)
    return separator


def untrained_head(**changes: Any) -> Any:
    """With the head's initial weights: mask and variance are those of the analysis alone."""
    separator = with_settings(**changes)
    torch.nn.init.zeros_(separator.head.head.weight)
    torch.nn.init.zeros_(separator.head.head.bias)
    return separator


def test_the_velocity_is_the_mean_velocity_of_a_normal_target_given_point_and_mixture() -> None:
    """Monte Carlo: targets drawn around m X with variance v, weighted by how likely the noise is that
    puts their path through the point."""
    separator, tau, random = untrained_head(), 0.6, rng(4)
    rows = one_row(separator)
    mean, variance = gaussians(separator, rows)
    ends = [normal(rows.spec.numel(), random).reshape(rows.spec.shape) for _ in range(2)]
    point = tau * (mean + (variance / 2).sqrt() * ends[0])
    point = point + (1 - tau) * 0.5**0.5 * ends[1]
    with torch.no_grad():
        velocity = separator.velocity(rows, point.to(rows.spec), torch.tensor([tau]))
    for index in ((0, 0, 3, 2), (0, 0, 17, 5), (0, 0, 30, 11)):
        target = mean[index] + (variance[index] / 2).sqrt() * normal(200_000, random)
        needed = (point[index] - tau * target) / (1 - tau)
        weight = torch.exp(-needed.abs().square())  # density of complex noise of variance 1
        expected = (weight * (target - needed)).sum() / weight.sum()
        error = (weight * (target - needed - expected).abs()).square().sum().sqrt() / weight.sum()
        assert (velocity[index] - expected).abs() < 5 * error  # its standard error, five times


def normal(num: int, generator: torch.Generator) -> torch.Tensor:
    """Complex, of variance 2."""
    return torch.view_as_complex(torch.randn(num, 2, generator=generator, dtype=torch.float64))


@pytest.mark.parametrize("tau", [0.0, 0.3, 0.9])
def test_the_velocity_is_linear_regression_on_the_point(tau: float) -> None:
    """E[b | a] = E b + cov(b, a) / var(a) (a - E a), with the covariances of target and noise as a
    matrix."""
    separator = untrained_head()
    rows = one_row(separator)
    point = 3 * torch.view_as_complex(noise(*rows.spec.shape, 2, seed=6))
    with torch.no_grad():
        velocity = separator.velocity(rows, point, torch.tensor([tau])).numpy()
    parts = [part.numpy().astype(np.complex128) for part in gaussians(separator, rows)]
    for index in ((0, 0, 3, 2), (0, 0, 17, 5), (0, 0, 30, 11)):
        mean, variance = (part[index] for part in parts)
        covariance = np.diag([variance, 1])
        path, difference = np.array([tau, 1 - tau]), np.array([1, -1])
        means = np.array([mean, 0])
        slope = difference @ covariance @ path / (path @ covariance @ path)
        expected = difference @ means + slope * (point[index].numpy() - path @ means)
        np.testing.assert_allclose(velocity[index], expected, atol=1e-5, rtol=1e-5)  # float32


def test_paths_of_a_normal_target_end_at_its_quantiles() -> None:
    """Both ends are normal, so the exact flow scales distances from the mean by sqrt(v)."""
    separator = untrained_head(num_steps=400, solver="heun", temperature=1.0)
    rows = one_row(separator)
    drawn = separator.noise(rows.spec.shape[-1], None)[:, None]
    mean, variance = gaussians(separator, rows)
    expected = waveform_of(separator, rows, mean + variance.sqrt() * drawn)
    with torch.no_grad():
        target = separator.one_target(rows, drawn, 640)
    # 1e-3: variances down to 1e-4 turn the last steps sharply
    torch.testing.assert_close(target, expected, atol=1e-3 * float(expected.abs().max()), rtol=0)


def one_row(separator: Any) -> Scene:
    """A mixture of 640 samples, queried for two of five classes."""
    degrees = torch.tensor([[[0, 1, 0, 0.5, 0, 0]]])
    with torch.no_grad():
        scene: Scene = separator.scene(noise(1, 1, 640), degrees)
    return scene.rows(slice(None), 0)


def gaussians(separator: Any, rows: Scene) -> list[torch.Tensor]:
    """Mean and variance of the target with an untrained head, (1, 1, f, n) each."""
    mask = rows.logits.sigmoid() ** separator.config.mask_exponent
    variance = mask * (1 - mask) + 1e-4
    mean = separator.to_bins(mask)[:, None] * rows.spec
    return [mean, separator.to_bins(variance)[:, None]]


def waveform_of(separator: Any, rows: Scene, spec: torch.Tensor) -> torch.Tensor:
    """Of a compressed spectrogram relative to the level, 640 samples."""
    return istft(power(spec * rows.level, 1 / separator.config.compression), 64, 32, 640)


def test_one_step_at_no_temperature_is_the_class_u_nets_mask() -> None:
    exponent = 0.55
    separator = untrained_head(num_steps=1, temperature=0.0, mask_exponent=exponent)
    mixture, queries = noise(2, 1, 1500), random_embedding(2, 3)
    analysis, compression = separator.analysis, separator.config.compression
    spec = analysis.spectrum(mixture)
    features = analysis.features(analysis.gather(spec.abs().square().mean(dim=1)))
    with torch.no_grad():
        mask = analysis.masks(features, queries.pooled.clamp(0, 1))[1].sigmoid()
        target = separator.separate(mixture, queries).target
    # Compressed, masked and decompressed, with interpolation to bins in between.
    bands = mask ** (compression * exponent)
    bin_mask = (bands.mT @ analysis.bands.T).mT ** (1 / compression)
    expected = istft(bin_mask[:, :, None] * spec[:, None], 64, 32, 1500)
    torch.testing.assert_close(target, expected, atol=1e-5, rtol=1e-4)


def test_everything_but_a_class_is_the_residual_of_the_class() -> None:
    separator = tiny_separator("flow_unet")
    mixture, dog = noise(2, 3, 1601), torch.eye(6)[None, :1].repeat(2, 1, 1)
    queries = QueryEmbedding(torch.cat([dog, 1 - dog], dim=1))
    with torch.inference_mode():
        separated = separator.separate(mixture, queries)
    # 1e-7: one rounding
    torch.testing.assert_close(separated.target[:, 1], separated.residual[:, 0], atol=1e-7, rtol=0)
    assert separated.target[:, 0].std() > 0.01 * mixture.std()


def test_the_classes_energies_are_the_class_u_nets() -> None:
    separator, mixture = tiny_separator("flow_unet"), noise(2, 1, 1601)
    with torch.inference_mode():
        actual, expected = (
            each.class_analysis(mixture) for each in (separator, separator.analysis)
        )
        assert torch.equal(actual.shares(), expected.shares())
        assert torch.equal(actual.overlaps(), expected.overlaps())


def test_training_leaves_the_class_u_net_as_it_is() -> None:
    separator = tiny_separator("flow_unet").train()
    before = copy.deepcopy(separator.analysis.state_dict())
    separator.loss(*mixture_batch(), rng(0)).total.mean().backward()
    assert all(
        torch.equal(before[key], now) for key, now in separator.analysis.state_dict().items()
    )
    assert all(weight.grad is None for weight in separator.analysis.parameters())


def test_compression_and_its_inverse_are_one_and_keep_phase() -> None:
    spec = torch.view_as_complex(torch.randn(5, 7, 2, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(power(power(spec, 0.7), 1 / 0.7), spec)
    torch.testing.assert_close(power(spec, 0.7).angle(), spec.angle())
    torch.testing.assert_close(power(spec, 0.7).abs(), spec.abs() ** 0.7)


def test_channels_keep_their_image() -> None:
    separator = with_settings(temperature=0.0)
    mono = noise(1, 1, 2000)
    stereo = torch.cat([mono, -0.5 * mono], dim=1)
    with torch.no_grad():
        target = separator.separate(stereo, random_embedding(1, 2)).target
    torch.testing.assert_close(target[:, :, 1], -0.5 * target[:, :, 0], atol=1e-6, rtol=1e-4)


def test_another_generator_draws_another_target_and_the_same_one_the_same() -> None:
    separator = tiny_separator("flow_unet")
    mixture, queries = noise(1, 1, 2000), random_embedding(1, 1)

    def drawn(seed: int) -> torch.Tensor:
        with torch.no_grad():
            target: torch.Tensor = separator.separate(
                mixture, queries, torch.Generator().manual_seed(seed)
            ).target
        return target

    assert torch.equal(drawn(0), drawn(0))
    assert (drawn(0) - drawn(1)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"solver": "rk9"}, "rk9"),
        ({"num_steps": 0}, "num_steps is 0"),
        ({"temperature": -1.0}, "temperature is -1"),
        ({"noise_frames": 24}, "24"),
    ],
)
def test_invalid_settings_are_named(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        build_separator("flow_unet", SETTINGS["flow_unet"] | change)


def test_noise_repeats_after_its_period() -> None:
    separator = tiny_separator("flow_unet")
    drawn = separator.noise(40, [torch.Generator().manual_seed(seed) for seed in (0, 1)])
    period = separator.config.noise_frames
    assert drawn.shape == (2, 33, 40)
    assert torch.equal(drawn[:1], separator.noise(40, None))
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[..., :period], drawn[..., period : 2 * period])
    assert separator.stride_samples == period * 32
    assert separator.sample_rate == RATE

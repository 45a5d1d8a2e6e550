"""The flow separator's velocity against the posterior mean that its formula states, and its use."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import StubEncoder, mixture_batch, noise, tiny_separator, unit_vectors
from tiny_settings import QUERY_DIM, RATE, SETTINGS

from qsep.queries.interface import QueryEmbedding
from qsep.separation.components import build_separator
from qsep.separation.models.flow_unet import power
from qsep.separation.signal.band_energies import band_planes
from qsep.separation.signal.stft import istft
from qsep.separation.storage.checkpoint import describe, save_checkpoint


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
    """Monte Carlo: targets drawn around m X with variance c, weighted by how likely the noise is that
    puts their path through the point."""
    separator, tau = untrained_head(), 0.6
    scene = separator.scene(noise(1, 1, 640))
    pooled, rng = unit_vectors(1, QUERY_DIM, seed=2), torch.Generator().manual_seed(4)
    point = normal(scene.spec.numel(), rng).reshape(scene.spec.shape).to(scene.spec)
    with torch.no_grad():
        question = separator.query_state(scene, pooled)
        velocity = separator.velocity(scene, question, point, torch.tensor([tau]))
        masked = separator.velocity(scene, question, torch.zeros_like(point), torch.tensor([0.0]))
    mask = question.logits.sigmoid()
    doubt = separator.to_bins(mask * (1 - mask) + 1e-4)[:, None]
    for index in ((0, 0, 3, 2), (0, 0, 17, 5), (0, 0, 30, 11)):
        target = masked[index] + (doubt[index] / 2).sqrt() * normal(200_000, rng)
        needed = (point[index] - tau * target) / (1 - tau)
        weight = torch.exp(-needed.abs().square())  # density of complex noise of variance 1
        expected = (weight * (target - needed)).sum() / weight.sum()
        error = (weight * (target - needed - expected).abs()).square().sum().sqrt() / weight.sum()
        assert (velocity[index] - expected).abs() < 5 * error  # its standard error, five times


def normal(num: int, rng: torch.Generator) -> torch.Tensor:
    """Complex, of variance 2."""
    return torch.view_as_complex(torch.randn(num, 2, generator=rng, dtype=torch.float64))


def test_one_step_at_no_temperature_is_the_analysis_mask_on_the_compressed_spectrum() -> None:
    separator = untrained_head(num_steps=1, temperature=0.0)
    mixture, queries = noise(2, 1, 1500), random_embedding(2, 3)
    analysis = separator.analysis
    spec = analysis.spectrum(mixture)
    energy = analysis.gather(spec.abs().square().mean(dim=1))
    features = analysis.hidden(band_planes(energy))
    reading = analysis.concept_masks(analysis.reader(queries.pooled))
    mask = analysis.logits(features, reading).sigmoid()
    bin_mask = (mask.transpose(-2, -1) @ analysis.bands.T).transpose(-2, -1)[:, :, None]
    # Compressed, masked, decompressed: the mask to the power 1 / compression.
    masked = bin_mask ** (1 / separator.config.compression) * spec[:, None]
    expected = istft(masked, 64, 32, 1500)
    with torch.no_grad():
        target = separator.separate(mixture, queries).target
    torch.testing.assert_close(target, expected, atol=1e-5, rtol=1e-4)


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


def test_a_student_learns_the_end_points_of_its_teacher(tmp_path: Path) -> None:
    """At tau = 0 one step from the start to the teacher's end is the velocity that costs nothing."""
    teacher = tiny_separator("flow_unet")
    torch.nn.init.normal_(
        teacher.head.head.weight, std=0.3, generator=torch.Generator().manual_seed(3)
    )
    encoder = StubEncoder()
    description = describe("flow_unet", teacher, "stub", encoder, {})
    save_checkpoint(tmp_path / "teacher", description, teacher.state_dict(), "card")
    batch, queries = mixture_batch()

    def cost(teacher_steps: int) -> torch.Tensor:
        student = build_separator(
            "flow_unet",
            SETTINGS["flow_unet"]
            | {"teacher": str(tmp_path / "teacher"), "teacher_steps": teacher_steps, "num_steps": 1}
            | {"analysis": SETTINGS["band_unet"] | {"query_noise": 0.0}},
        )
        student.load_state_dict(teacher.state_dict())
        student.eval()  # norms as the teacher's
        student.training = True
        with torch.no_grad():
            total: torch.Tensor = student.loss(
                batch, queries, torch.Generator().manual_seed(0)
            ).total
        return total

    assert cost(1).max() < 1e-8  # its one step is the student's
    assert cost(8).min() > 1e-4


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

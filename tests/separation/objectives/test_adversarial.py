"""Losses of autoencoders and vocoders, by hand and by other libraries; discriminators; weight norm."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from tiny import noise, rng
from torch import nn

from qsep.separation.networks.blocks.weight_norm import load_plain, plain_state, weight_normed
from qsep.separation.networks.mel.bigvgan import BigVGAN, VocoderConfig
from qsep.separation.networks.mel.discriminators import (
    PatchConfig,
    PatchDiscriminator,
    PeriodDiscriminator,
    SpectralDiscriminator,
    WaveDiscriminatorConfig,
    WaveDiscriminators,
)
from qsep.separation.objectives.adversarial import (
    adaptive_weight,
    feature_distance,
    hinge_discriminator,
    hinge_generator,
    least_squares_discriminator,
    least_squares_generator,
)
from qsep.separation.objectives.laplace import laplace_loss

REAL = torch.tensor([[2.0, 0.5, -1.0], [1.0, 3.0, 1.0]])
GENERATED = torch.tensor([[-2.0, 0.0, 0.5], [-1.0, -1.0, -4.0]])


def test_hinge_losses_match_a_hand_calculation() -> None:
    # First item: real lack 0, 0.5 and 2 to 1, made 0, 1 and 1.5 to -1; the second's are all beyond.
    assert hinge_discriminator(REAL, GENERATED).tolist() == pytest.approx(
        [0.5 * (2.5 + 2.5) / 3, 0.0]
    )
    assert hinge_generator(GENERATED).tolist() == pytest.approx([0.5, 2.0])


def test_least_squares_losses_match_a_hand_calculation() -> None:
    # (1 + 0.25 + 4 + 4 + 0 + 0.25) / 3; (0 + 4 + 0 + 1 + 1 + 16) / 3
    assert least_squares_discriminator(REAL, GENERATED).tolist() == pytest.approx([9.5 / 3, 22 / 3])
    assert least_squares_generator(GENERATED).tolist() == pytest.approx([10.25 / 3, 33 / 3])


def test_feature_matching_sums_the_mean_differences_of_layers() -> None:
    real = [torch.zeros(2, 3, 1), torch.ones(2, 1, 5, 2)]
    generated = [
        torch.tensor([[1.0, -2.0, 0.0], [0.0, 0.0, 6.0]])[..., None],
        torch.full((2, 1, 5, 2), 0.5),
    ]
    assert feature_distance(real, generated).tolist() == pytest.approx([1.0 + 0.5, 2.0 + 0.5])


@pytest.mark.parametrize("log_scale", [0.0, -1.3])
def test_the_reconstruction_loss_is_the_negative_log_likelihood_of_laplace_distributions(
    log_scale: float,
) -> None:
    data, generated = noise(2, 1, 5, 3), noise(2, 1, 5, 3, seed=1)
    distribution = torch.distributions.Laplace(generated, np.exp(log_scale))
    expected = -distribution.log_prob(data).sum(dim=(1, 2, 3)) - 15 * np.log(2)
    torch.testing.assert_close(laplace_loss(data, generated, torch.tensor(log_scale)), expected)


def test_the_learned_width_is_best_at_the_mean_error() -> None:
    data, generated = noise(4, 1, 6, 5), noise(4, 1, 6, 5, seed=1)
    log_scale = (data - generated).abs().mean().log().requires_grad_()
    laplace_loss(data, generated, log_scale).mean().backward()
    assert log_scale.grad is not None
    assert log_scale.grad.item() == pytest.approx(0, abs=1e-5)  # float32


def test_the_adaptive_weight_is_the_ratio_of_gradients_at_the_last_layer() -> None:
    layer = torch.ones(2, 2, requires_grad=True)
    first, second = torch.tensor([[3.0, 0.0], [0.0, 4.0]]), torch.tensor([[0.0, 0.1], [0.0, 0.0]])
    weight = adaptive_weight((first * layer).sum(), (second * layer).sum(), layer)
    assert weight.item() == pytest.approx(5 / (0.1 + 1e-4), rel=1e-6)
    assert not weight.requires_grad
    assert adaptive_weight((first * layer).sum(), (0 * layer).sum(), layer).item() == 1e4


def test_the_patch_discriminator_is_the_published_one() -> None:
    discriminator = PatchDiscriminator(PatchConfig())
    # Five 4 x 4 convolutions, 1-64-128-256-512-1, biases at both ends, three norms.
    weights = 16 * (1 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512) + 64 + 1
    assert sum(p.numel() for p in discriminator.parameters()) == weights + 2 * (128 + 256 + 512)
    with torch.no_grad():
        scores = discriminator(noise(2, 1, 128, 64))
    assert scores.shape == (2, (128 // 8 - 2) * (64 // 8 - 2))


def test_the_patch_discriminator_normalises_by_batch_statistics() -> None:
    discriminator = PatchDiscriminator(PatchConfig(4, 2))
    assert list(discriminator.buffers()) == []
    log_mel = noise(3, 1, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(discriminator.train()(log_mel), discriminator.eval()(log_mel))


def test_the_wave_discriminators_are_those_of_bigvgan() -> None:
    with torch.device("meta"):
        discriminators = WaveDiscriminators(WaveDiscriminatorConfig())
    widths = [1, 32, 128, 512, 1024, 1024]
    kernels = [5 * a * b for a, b in pairwise(widths)]
    by_period = sum(kernels) + 3 * 1024 + sum(widths[1:]) + 1
    by_resolution = 27 * 32 + 3 * 27 * 32 * 32 + 9 * 32 * 32 + 9 * 32 + 5 * 32 + 1
    named = discriminators.named_parameters()  # original0: the lengths of weight norm
    assert (
        sum(p.numel() for name, p in named if "original0" not in name)
        == 5 * by_period + 3 * by_resolution
    )


def test_discriminators_return_one_score_each_and_the_features_of_every_layer() -> None:
    config = WaveDiscriminatorConfig((2, 3), (64,), (16,), (48,), 2)
    discriminators = WaveDiscriminators(config)
    actual = discriminators(noise(2, 1, 320))
    assert [scores.shape[0] for scores in actual.scores] == [2, 2, 2]
    assert len(actual.features) == 3 * 6
    assert torch.equal(actual.features[5].flatten(1), actual.scores[0])


def test_a_period_discriminator_treats_each_phase_of_the_period_independently() -> None:
    discriminator = PeriodDiscriminator(3, 2)
    waveform = noise(1, 1, 300)
    other = waveform.clone()
    other[..., 1::3] += noise(1, 1, 100, seed=2)
    with torch.no_grad():
        before, after = discriminator(waveform)[-1], discriminator(other)[-1]
    changed = (before != after).any(dim=2)[0, 0]
    assert changed.tolist() == [False, True, False]


def test_a_spectral_discriminator_sees_the_magnitudes_of_mirrored_frames() -> None:
    discriminator = SpectralDiscriminator(32, 10, 20, 2)
    waveform = noise(1, 1, 100)
    padded = np.pad(waveform[0, 0].numpy().astype(float), 11, mode="reflect")
    frames = [padded[start : start + 32] for start in range(0, len(padded) - 31, 10)]
    window = np.pad(np.ones(20), 6)
    expected = np.abs(np.fft.rfft(np.stack(frames) * window, axis=1)).T
    actual = discriminator.magnitudes(waveform)[0].numpy()
    assert actual.shape == expected.shape == (17, 10)
    np.testing.assert_allclose(actual, expected, atol=1e-5)  # float32


def tiny_vocoder(seed: int) -> BigVGAN:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BigVGAN(VocoderConfig(8, (4, 2), (8, 4), (3,), (1, 2)), num_bands=5).eval()


def test_weight_norm_can_be_added_and_removed_without_changing_the_output() -> None:
    log_mel = noise(2, 5, 7)
    plain, normed = tiny_vocoder(0), weight_normed(tiny_vocoder(0))
    with torch.no_grad():
        torch.testing.assert_close(normed(log_mel), plain(log_mel))
        for parameter in normed.parameters():
            parameter.add_(noise(*parameter.shape, seed=parameter.numel()))
        plain.load_state_dict(plain_state(normed))
        torch.testing.assert_close(plain(log_mel), normed(log_mel))
    assert any("original0" in key for key in normed.state_dict())


def test_the_lengths_under_weight_norm_are_those_of_output_channels_or_input_ones() -> None:
    normed = weight_normed(nn.Sequential(nn.Conv1d(2, 3, 5), nn.ConvTranspose1d(3, 4, 5)))
    lengths = [value.shape for key, value in normed.state_dict().items() if "original0" in key]
    assert lengths == [(3, 1, 1), (3, 1, 1)]


def test_plain_weights_load_into_a_network_with_weight_norm_strictly() -> None:
    expected, normed = tiny_vocoder(1), weight_normed(tiny_vocoder(2))
    load_plain(normed, expected.state_dict())
    log_mel = torch.randn(1, 5, 6, generator=rng(3))
    with torch.no_grad():
        torch.testing.assert_close(normed(log_mel), expected(log_mel))
    weights = expected.state_dict()
    weights.pop("conv_in.bias")
    with pytest.raises(RuntimeError, match=r"conv_in\.bias"):
        load_plain(normed, weights)

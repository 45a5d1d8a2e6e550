"""What is particular to qsep.separation.models.band_unet."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from tiny import mixture_batch, noise, rng, tiny_separator, unit_vectors
from tiny_settings import QUERY_DIM
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding
from qsep.separation.networks.unets.residual_unet import UNet, drop_channels, unet_reach_frames
from qsep.separation.signal.band_energies import band_planes, surroundings
from qsep.separation.signal.spectra import squared_magnitude

BLOCKS = [(1, 1, 1, 1, 1), (1, 2, 2, 2, 2), (2, 1, 3, 1, 1)]


def band_masks(separator: Any, mixture: Tensor, pooled: Tensor) -> Tensor:
    energy = separator.gather(squared_magnitude(separator.spectrum(mixture)).mean(dim=1))
    with torch.no_grad():
        return separator.masks(energy, QueryEmbedding(pooled))


def test_masks_lie_between_zero_and_one_and_differ_by_query_band_and_frame() -> None:
    masks = band_masks(tiny_separator(), noise(2, 1, 3001), unit_vectors(2, 3, QUERY_DIM, seed=3))
    assert masks.shape == (2, 3, 32, 95)
    assert masks.min() >= 0
    assert masks.max() <= 1
    assert masks.std(dim=(1, 2, 3)).min() > 0.01
    assert masks.std(dim=3).mean() > 0.01


def test_no_bin_of_the_target_is_louder_than_the_mixtures_or_of_another_phase() -> None:
    separator, mixture = tiny_separator(), noise(2, 1, 3001)
    pooled = unit_vectors(2, 3, QUERY_DIM, seed=3)
    masks = band_masks(separator, mixture, pooled).transpose(-2, -1) @ separator.bands.T
    spec = (
        torch.stft(  # of librosa's kind: analysis and synthesis both by the root of a Hann window
            torch.nn.functional.pad(mixture[:, 0], (0, -3001 % 32)),
            64,
            32,
            window=torch.hann_window(64).sqrt(),
            pad_mode="constant",
            return_complex=True,
        )
    )
    frames = np.fft.irfft((masks.transpose(-2, -1) * spec[:, None]).numpy(), axis=2)
    frames = frames * np.sqrt(np.hanning(65)[:64])[:, None]
    expected = np.zeros((2, 3, 64 + 94 * 32))
    for frame in range(95):
        expected[..., frame * 32 : frame * 32 + 64] += frames[..., frame]
    with torch.no_grad():
        target = separator.separate(mixture, QueryEmbedding(pooled)).target[:, :, 0]
    # 1e-6: float32 spectra of values around 0.1
    np.testing.assert_allclose(target, expected[..., 32 : 32 + 3001], atol=1e-6, rtol=0)


def direct_loss(separator: Any, item: int) -> tuple[float, float, float]:
    """(total, present, absent) of an item of mixture_batch: each bin's error, in float64."""
    batch, queries = mixture_batch()
    masks = band_masks(separator, batch.mixture, queries.pooled)[item].double().numpy()
    bands = separator.bands.double().numpy()
    tau = 10 ** (-separator.config.snr_limit_db / 10)
    present, absent = [], []
    for source, query in enumerate(batch.queries[item]):
        if query is None:
            continue
        mixture_spec, source_spec = (
            separator.spectrum(waveform.double()).numpy()
            for waveform in (batch.mixture[item], batch.sources[item, source])
        )
        # A bin gets the error of each of its bands' masks, weighted as the bin is shared.
        error = sum(
            (bands[:, k, None] * abs(masks[source, k] * mixture_spec - source_spec) ** 2).sum()
            for k in range(bands.shape[1])
        )
        source_energy, mixture_energy = ((abs(s) ** 2).sum() for s in (source_spec, mixture_spec))
        if source_energy > 0:
            present.append(10 * np.log10(error / source_energy + tau))
        else:
            absent.append(10 * np.log10(error / mixture_energy + tau))
    weight = separator.config.absent_weight
    total = sum(present) + weight * sum(absent)
    total /= len(present) + weight * len(absent)
    return total, np.mean(present), np.mean(absent) if absent else np.nan


@pytest.mark.parametrize(("absent_weight", "snr_limit_db"), [(0.1, 30.0), (0.7, 3.0)])
def test_the_loss_equals_its_definition_bin_by_bin(
    absent_weight: float, snr_limit_db: float
) -> None:
    separator = tiny_separator(absent_weight=absent_weight, snr_limit_db=snr_limit_db)
    output = separator.loss(*mixture_batch(), rng(0))
    values = torch.stack([output.total, output.terms["present"], output.terms["absent"]], dim=1)
    expected = [direct_loss(separator, item) for item in range(4)]
    # 1e-3 dB: the error is a difference of float32 energies
    np.testing.assert_allclose(values.detach(), expected, atol=1e-3, rtol=0)


def test_the_loss_bounds_the_error_of_the_waveform_from_above() -> None:
    separator, (batch, queries) = tiny_separator(), mixture_batch()
    one = dataclasses.replace(  # one query an item, so that the total is that query's
        batch,
        queries=[[row[0], None, None] if row[0] else [None, row[1], None] for row in batch.queries],
    )
    total = separator.loss(one, queries, rng(0)).total.detach()
    with torch.no_grad():
        target = separator.separate(batch.mixture, queries).target
    for item, source in enumerate([0, 1, 0, 0]):
        truth = batch.sources[item, source]
        error = (target[item, source] - truth).double().square().sum() / truth.square().sum()
        # 0.05 dB: energies are summed over one half of the spectrum, where 0 Hz counts double
        assert total[item] >= 10 * torch.log10(error + 1e-3) - 0.05


def test_noise_on_queries_in_training_depends_on_the_generator_alone() -> None:
    separator = tiny_separator(query_noise=0.8)
    losses = [separator.loss(*mixture_batch(), rng(seed)).total for seed in (1, 1, 2)]
    assert torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[0], losses[2])


def test_dropped_channels_are_silent_and_the_others_keep_the_mean() -> None:
    hidden = noise(7, 40, 3)[:, :, None].expand(-1, -1, 2, -1) + 3
    dropped = drop_channels(hidden, 0.25, rng(5))
    ratio = dropped / hidden
    per_channel = ratio.amax(dim=(-2, -1))
    torch.testing.assert_close(ratio, per_channel[..., None, None].expand_as(ratio))
    assert set(per_channel.mul(3).round().unique().tolist()) == {0.0, 4.0}  # 0 or 1 / 0.75
    share = (per_channel == 0).float().mean().item()
    assert abs(share - 0.25) < 4 * (0.25 * 0.75 / 280) ** 0.5  # four standard deviations


def test_dropout_is_for_training_alone_and_depends_on_the_generator() -> None:
    plain, dropping = (
        tiny_separator(query_noise=0.0),
        tiny_separator(query_noise=0.0, channel_dropout=0.5),
    )
    batch, queries = mixture_batch()
    losses = [dropping.loss(batch, queries, rng(seed)).total for seed in (1, 1, 2)]
    assert torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[0], losses[2])
    assert torch.equal(
        band_masks(plain, batch.mixture, queries.pooled),
        band_masks(dropping, batch.mixture, queries.pooled),
    )


def test_masks_are_averaged_over_shifts_and_raised_to_the_power() -> None:
    separator = tiny_separator("band_unet", shifts=4, mask_exponent=0.6)
    pooled = unit_vectors(2, 3, QUERY_DIM, seed=3)
    energy = separator.gather(squared_magnitude(separator.spectrum(noise(2, 1, 3001))).mean(dim=1))
    num_frames = energy.shape[-1]
    with torch.no_grad():
        features = band_planes(energy)
        shifted = []
        for shift in (0, 4, 8, 12):
            rest = (16 - (num_frames + shift) % 16) % 16
            padded = nn.functional.pad(features, (shift, rest))
            hidden = separator.unet(padded)[..., shift : shift + num_frames]
            query = separator.concept_masks(separator.reader(pooled))
            logits = torch.einsum("bsd,bdkn->bskn", query[..., :-1] * 5**-0.5, hidden)
            shifted.append(torch.sigmoid(logits + query[..., -1, None, None]))
        actual = separator.averaged_masks(energy, QueryEmbedding(pooled))
    expected = torch.stack(shifted).mean(dim=0) ** 0.6
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)
    assert (shifted[0] - shifted[2]).abs().max() > 1e-3  # the grid matters


@pytest.mark.parametrize("shifts", [0, 17])
def test_shifts_fit_the_grid(shifts: int) -> None:
    with pytest.raises(ValueError, match=f"shifts is {shifts}"):
        tiny_separator("band_unet", shifts=shifts)


def test_surroundings_are_means_over_75_frames_on_each_side_and_fewer_at_the_ends() -> None:
    energy = noise(2, 3, 200).abs()
    actual = surroundings(energy)
    for frame in (0, 60, 100, 199):
        expected = energy[..., max(0, frame - 75) : frame + 76].mean(dim=-1)
        torch.testing.assert_close(actual[..., frame], expected, rtol=1e-5, atol=0)  # float32 sums


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_features_do_not_change_with_the_level(factor: float) -> None:
    energy = noise(2, 32, 90).square() + 0.01
    # 1e-5: float32 logarithms
    torch.testing.assert_close(band_planes(factor * energy), band_planes(energy), atol=1e-5, rtol=0)


def average_everywhere(network: nn.Module) -> None:
    """Every weight positive and every unit active, so that whatever can matter does."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            nn.init.ones_(module.bias)


@pytest.mark.parametrize("blocks", BLOCKS)
def test_the_u_net_reaches_as_far_as_stated_and_no_farther(blocks: tuple[int, ...]) -> None:
    network = UNet((1, 2, 1, 2, 1), blocks, 1).double().eval()
    average_everywhere(network)
    reach = unet_reach_frames(blocks)
    num_frames, middle = -(-(2 * reach + 40) // 16) * 16, -(-(reach + 8) // 16) * 16
    bands = torch.zeros(1, 3, 32, num_frames, dtype=torch.double, requires_grad=True)
    output, farthest = network(bands)[0, 0].sum(dim=0), 0
    for frame in range(middle, middle + 16):
        (gradient,) = torch.autograd.grad(output[frame], bands, retain_graph=True)
        seen = gradient[0].abs().sum(dim=(0, 1)).nonzero()[:, 0]
        farthest = max(farthest, frame - int(seen.min()), int(seen.max()) - frame)
    assert farthest == reach


def test_the_context_is_the_u_nets_reach_with_the_levels_and_the_windows() -> None:
    separator = tiny_separator()
    # 231 frames of the U-Net (counted layer by layer: 2 + 92 + 120 + 2 + 15), 75 of the levels, and
    # two of the transforms: a window on the way in and one on the way out
    assert separator.context_samples == (231 + 75 + 2) * 32
    average_everywhere(separator.unet)
    nn.init.constant_(separator.concept_masks.weight, 0.1)
    # The last sample that frame 11 after a multiple of the stride takes part in: of all 16 it looks back
    # farthest, by the alignment of nearest neighbours.
    position = 20 * separator.stride_samples + 12 * 32 - 1
    mixture = noise(1, 1, position + 401).requires_grad_()
    queries = QueryEmbedding(unit_vectors(1, 1, QUERY_DIM))
    separator.separate(mixture, queries).target[0, 0, 0, position].backward()
    assert mixture.grad is not None
    farthest = position - int(mixture.grad[0, 0].nonzero().min())
    assert separator.context_samples - 32 < farthest <= separator.context_samples

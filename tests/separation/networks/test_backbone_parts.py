"""The parts of analyses and backbones compute what their papers say: bands, convolutions, attention."""

import math
from typing import Any

import pytest
import torch
from tiny import noise
from torch import nn

from qsep.separation.networks.analyses.bands import SCHEMES, widths_in_bins
from qsep.separation.networks.analyses.mel_bands import mel_bins
from qsep.separation.networks.backbones import clearbuds, deftan, multidilated
from qsep.separation.networks.backbones.mel_roformer import rotated
from qsep.separation.networks.blocks.band_split import Bands, BandSplit, GatedLinear, GatedMlp
from qsep.separation.networks.blocks.causal import recent_attention
from qsep.separation.networks.composition import no_query


def test_the_time_network_of_clearbuds_looks_its_frames_ahead_and_no_further() -> None:
    config = clearbuds.Config(
        num_filters=9,
        kernel_samples=10,
        bottleneck_channels=7,
        hidden_channels=8,
        num_blocks=2,
        lookahead_frames=3,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = clearbuds.TimeNetwork(config, 2, 3)
    mixture = noise(1, 2, 200, scale=1.0)
    changed = mixture.clone()
    changed[..., 120:] += 1  # the start of frame 12 of 20
    with torch.inference_mode():
        before, after = network(mixture, no_query), network(changed, no_query)
    same = (before == after).all(dim=1)[0]
    first = 120 - 3 * 10
    assert same[:first].all()
    assert not same[first : first + 10].any()


def test_a_complex_convolution_is_that_of_complex_numbers() -> None:
    conv = multidilated.ComplexConv(3, 2, 3, 2, causal=False)
    hidden = noise(2, 6, 9, 8, scale=1.0).double()
    conv = conv.double()
    padded, _ = conv.past_and(hidden, None)
    actual = conv(padded)
    signal = torch.complex(*hidden.chunk(2, dim=1))
    weight = torch.complex(conv.real, conv.imaginary)
    expected = nn.functional.conv2d(signal, weight, padding=4 // 2, dilation=2)
    torch.testing.assert_close(torch.complex(*actual.chunk(2, dim=1)), expected)


def test_a_layer_sees_source_i_with_dilation_two_to_the_i() -> None:
    config = multidilated.Config(channels=2, num_layers=3, growth=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        block = multidilated.DenseBlock(config, causal=True)
    reach = [[conv.reach for conv in layer.children()] for layer in block.layers]
    assert reach == [[2], [2, 4], [2, 4, 8]]
    hidden = noise(1, 4, 20, 40, scale=1.0)
    changed = hidden.clone()
    changed[..., 5] += 1
    with torch.inference_mode():
        differs = (block(hidden, None)[0] != block(changed, None)[0]).any(dim=2)[0]
    # real parts of the layers: reach 2, then 2 + 4, then 2 + 4 + 8 frames back
    for layer, last in enumerate((5 + 2, 5 + 6, 5 + 14)):
        assert differs[layer].nonzero().flatten().max() == last
        assert differs[layer].nonzero().flatten().min() == 5


def test_a_complex_norm_keeps_phases() -> None:
    norm = multidilated.ComplexNorm(3)
    hidden = torch.complex(noise(1, 3, 4, 5), noise(1, 3, 4, 5, seed=1))
    normed = norm(torch.cat([hidden.real, hidden.imag], dim=1))
    actual = torch.complex(*normed.chunk(2, dim=1))
    expected = hidden / hidden.abs().square().mean(dim=1, keepdim=True).sqrt()
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-4)  # the floor of 1e-8


def test_a_split_dense_block_takes_one_subgroup_a_layer() -> None:
    block = deftan.SplitDense(nn.Conv1d, 2, 3)
    hidden = noise(1, 6, 9, scale=1.0)
    steps = [hidden[:, [0, 3]]]
    for index, layer in enumerate(block.layers):
        steps.append(layer(steps[-1]))
        if index < 2:
            steps[-1] = torch.cat([steps[-1], hidden[:, [index + 1, index + 4]]], dim=1)
    torch.testing.assert_close(block(hidden), steps[-1])


def test_tiger_splits_speech_into_67_bands() -> None:
    # the released figure: widths 1, 4, 10 and 20 bins at 16 kHz, and one bin that is left
    widths = widths_in_bins("tiger", 321, 16000)
    assert widths == [1] * 40 + [4] * 10 + [10] * 8 + [20] * 8 + [1]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_bands_cover_every_bin_once(scheme: str) -> None:
    assert sum(widths_in_bins(scheme, 641, 32000)) == 641
    assert min(widths_in_bins(scheme, 641, 32000)) >= 1


def test_mel_bands_cover_every_bin_and_overlap() -> None:
    bands = mel_bins(60, 2048, 44100)
    times = torch.tensor([number for band in bands for number in band]).bincount(minlength=1025)
    assert len(bands) == 60
    assert times.min() >= 1
    assert times.max() == 2


OVERLAPPING = [[0, 1], [1, 2, 3], [3, 4]]


def test_a_band_split_is_each_bands_norm_and_matrix() -> None:
    split = BandSplit(Bands(OVERLAPPING, 5), 2, 6, "global")
    spec = noise(3, 2, 5, 7)
    actual = split(spec)
    group_of_width = {2: 0, 3: 1}  # of widths among the groups
    counts = {2: 0, 3: 0}
    for number, bins in enumerate(OVERLAPPING):
        group, member = group_of_width[len(bins)], counts[len(bins)]
        counts[len(bins)] += 1
        rows = spec[:, :, bins].flatten(1, 2)
        normed = nn.functional.group_norm(rows, 1, eps=1e-8)
        linear: Any = split.maps[group]
        expected = linear.weight[member] @ normed + linear.bias[member]
        torch.testing.assert_close(actual[:, :, number], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("norm", ["frame", "rms"])
def test_norms_of_frames_see_one_frame(norm: str) -> None:
    split = BandSplit(Bands(OVERLAPPING, 5), 1, 4, norm)
    spec = noise(1, 1, 5, 6)
    alone = torch.cat([split(spec[..., frame : frame + 1]) for frame in range(6)], dim=-1)
    torch.testing.assert_close(split(spec), alone, atol=1e-6, rtol=1e-5)


def test_bins_in_two_bands_get_the_mean_of_both() -> None:
    bands = Bands(OVERLAPPING, 5)
    groups = [torch.tensor([[1.0, 2.0], [6.0, 7.0]]), torch.tensor([[3.0, 4.0, 5.0]])]
    actual = bands.scatter([group[None, :, :, None] for group in groups])
    assert actual[0, 0, :, 0].tolist() == [1, (2 + 3) / 2, 4, (5 + 6) / 2, 7]


def test_a_bin_in_no_band_is_refused() -> None:
    with pytest.raises(ValueError, match="bin 2 of 4 is in no band"):
        Bands([[0, 1], [3]], 4)


@pytest.mark.parametrize(
    "make", [lambda b: GatedMlp(b, 6, 4, 2, "frame"), lambda b: GatedLinear(b, 6, 4, 2)]
)
def test_readouts_give_maps_of_every_bin(make: Any) -> None:
    readout = make(Bands(OVERLAPPING, 5))
    hidden = noise(3, 6, 3, 7)
    assert readout(hidden).shape == (3, 4, 5, 7)
    changed = hidden.clone()
    changed[:, :, 0] += 1  # the first band has bins 0 and 1
    differs = (readout(hidden) != readout(changed)).any(dim=0).any(dim=0).any(dim=-1)
    assert differs.tolist() == [True, True, False, False, False]


def test_shares_of_a_gated_linear_readout_see_their_own_channels() -> None:
    readout = GatedLinear(Bands(OVERLAPPING, 5), 6, 4, 2)
    hidden = noise(3, 6, 3, 7)
    changed = hidden.clone()
    changed[:, :3] += 1  # the first of two shares makes the first two of four maps
    differs = (readout(hidden) != readout(changed)).any(dim=-1).any(dim=-1).any(dim=0)
    assert differs.tolist() == [True, True, False, False]


def test_products_of_rotated_rows_depend_on_the_distance_alone() -> None:
    rows = noise(1, 9, 8, scale=1.0).double()
    same = rows[:, :1].expand(1, 9, 8)
    turned = rotated(same)
    products = turned @ turned.transpose(1, 2)
    for distance in range(9):
        diagonal = products[0].diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))
    # one pair by hand: the second pair of four turns by 1 / 10000^(2 / 8) a step
    angle = 3 * 10000 ** (-2 / 8)
    first, second = same[0, 0, 2], same[0, 0, 3]
    expected = first * math.cos(angle) - second * math.sin(angle)
    torch.testing.assert_close(turned[0, 3, 2], expected)


def test_recent_attention_sees_a_fixed_number_of_past_frames_and_no_later_one() -> None:
    query, key, value = (noise(2, 8, 5, seed=seed, scale=1.0) for seed in range(3))
    actual, _ = recent_attention(query, key, value, None, 3)
    for frame in range(8):
        seen = slice(max(0, frame - 2), frame + 1)
        scores = (query[:, frame, None] @ key[:, seen].transpose(1, 2)) / math.sqrt(5)
        expected = (scores.softmax(dim=-1) @ value[:, seen])[:, 0]
        torch.testing.assert_close(actual[:, frame], expected, atol=1e-6, rtol=1e-5)

"""Backbones are as large as their papers say, cost what they say, and their parts compute what they say."""

import math
from typing import Any

import pytest
import torch
from tiny import noise, rng, tiny_separator, unit_vectors
from tiny_settings import BANDS
from torch import Tensor, nn

import qsep.separation.networks.analyses as analyses
import qsep.separation.networks.backbones as backbones
from qsep.queries.interface import QueryEmbedding
from qsep.recipes.benchmarks.costs.network import count_macs, num_parameters
from qsep.separation.components import from_settings, load_component
from qsep.separation.networks.analyses.bands import SCHEMES, widths_in_bins
from qsep.separation.networks.analyses.mel_bands import mel_bins
from qsep.separation.networks.backbones import clearbuds, deftan, multidilated
from qsep.separation.networks.backbones.mel_roformer import rotated
from qsep.separation.networks.blocks.band_split import Bands, BandSplit, GatedLinear, GatedMlp
from qsep.separation.networks.blocks.causal import recent_attention
from qsep.separation.networks.composition import no_query


class Published(nn.Module):
    """Analysis, backbone and readout without a query, for num_sources sources, as a paper has them."""

    def __init__(
        self,
        analysis: dict[str, Any],
        backbone: dict[str, Any],
        sample_rate: int,
        num_maps: int,
        num_channels: int = 1,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.analysis = built(analyses, analysis, sample_rate, num_channels, causal)
        shape = (self.analysis.channels, self.analysis.num_bands)
        self.backbone = built(backbones, backbone, *shape, num_maps, causal)
        self.readout: nn.Module = nn.Identity()
        if not self.backbone.complete:
            self.readout = self.analysis.readout(self.backbone.width, num_maps)

    def forward(self, waveform: Tensor) -> Tensor:
        features = self.analysis.features(self.analysis.carrier(waveform))
        output: Tensor = self.readout(self.backbone(features, no_query))
        return output


def built(package: Any, settings: dict[str, Any], *arguments: Any) -> Any:
    module = load_component(package, settings["kind"])
    options = {name: value for name, value in settings.items() if name != "kind"}
    return module.build(from_settings(module.Config, options), *arguments)


TIGER = {"kind": "bands", "window_samples": 640, "hop_samples": 160, "scheme": "tiger"}
TIGER |= {"width": 128, "readout": "linear", "shares": 2}
# 62 bands of Lu et al. (2023), table 1, in bins
ROFORMER_BANDS = [2] * 24 + [4] * 12 + [12] * 8 + [24] * 8 + [48] * 8 + [128, 129]
DEFTAN = {"kind": "deftan"}
CLEARBUDS = {
    "num_filters": 9,
    "kernel_samples": 10,
    "bottleneck_channels": 7,
    "hidden_channels": 8,
    "num_blocks": 2,
    "lookahead_frames": 3,
}
PUBLISHED: dict[str, tuple[tuple[Any, ...], float, float]] = {  # arguments, parameters, rounding
    # Xu et al. (2025), table 2: 0.82 M
    "tiger": ((TIGER, {"kind": "tiger"}, 16000, 4), 0.82e6, 0.005e6),
    # Wang et al. (2023), table 1: 105 M, one stem, two channels
    "mel_roformer": (({"kind": "mel_bands"}, {"kind": "mel_roformer"}, 44100, 4, 2), 105e6, 0.5e6),
    # Lu et al. (2023), table 2: 93.4 M, and 72.2 M with six blocks
    "bs_roformer": (
        (
            {
                "kind": "bands",
                "window_samples": 2048,
                "scheme": "widths",
                "widths": ROFORMER_BANDS,
                "width": 384,
                "norm": "rms",
                "readout_norm": "none",
            },
            {"kind": "mel_roformer"},
            44100,
            4,
            2,
        ),
        93.4e6,
        0.2e6,
    ),
    # Défossez et al. (2019), table 3: 1014 MB in float32
    "demucs": (
        ({"kind": "waveform"}, {"kind": "demucs"}, 44100, 8, 2),
        1014 * 2**20 / 4,
        1.0 * 2**20 / 4,
    ),
    # Zhao et al. (2024), table 1: 55.7 M
    "mossformer2": (
        ({"kind": "filterbank", "readout": "gated"}, {"kind": "mossformer2"}, 16000, 2),
        55.7e6,
        0.05e6,
    ),
    # Veluri et al. (2024): 2.04 M, of which the query's matrix 256 -> 64 * 97 and its norm are 1.61 M
    "tfgridnet": (
        ({"kind": "stft", "window_samples": 192}, {"kind": "tfgridnet"}, 16000, 4, 2, True),
        2.04e6 - (256 * 64 * 97 + 64 * 97 + 2 * 64 * 97),
        0.005e6,
    ),
    # Watcharasupat et al. (2022), abstract: 354 K, of sizes that are ours; microphone and loudspeaker
    "multidilated": (
        (
            {"kind": "stft", "window_samples": 512},
            {"kind": "multidilated"},
            *(16000, 4, 2, True),
        ),
        354e3,
        0.5e3,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_has_as_many_parameters_as_published(name: str) -> None:
    arguments, published, rounding = PUBLISHED[name]
    with torch.device("meta"):
        network = Published(*arguments)
    assert num_parameters(network) == pytest.approx(published, abs=rounding)


def test_six_blocks_fewer_make_bs_roformer_21_million_smaller() -> None:
    # 93.4 M - 72.2 M: twelve layers of attention (4 d^2) and feed-forward (8 d^2 and biases), d = 384
    with torch.device("meta"):
        sizes = [num_parameters(backbones_of(num_blocks, 384)) for num_blocks in (12, 6)]
    assert sizes[0] - sizes[1] == pytest.approx(21.2e6, abs=0.1e6)


def backbones_of(num_blocks: int, width: int) -> nn.Module:
    settings = {"kind": "mel_roformer", "num_blocks": num_blocks}
    network: nn.Module = built(backbones, settings, width, 60, 4, False)
    return network


def test_deftan_has_the_parameters_of_its_released_sizes() -> None:
    # Worked by hand from the released code's sizes, four microphones: the paper's own count is not confirmed.
    split = (64 * 64 * 3 + 64) + 3 * (128 * 64 * 3 + 64) + 4 * (2 * 64 + 64)
    attention = 64 * 128 * 3 + 3 * 64 * 256 + 256 * 64 + 64
    feed = 2 * (64 * 128 + 128) + (128 * 128 * 5 + 128 + 2 * 128 + 128) + 256 * 64 + 64
    transformer = split + attention + feed + (64 * 64 * 4 + 64) + 3 * 2 * 64  # folding, norms
    first = 8 * 256 * 9 + 256 + 2 * 256
    first += (64 * 64 * 9 + 64) + 3 * (128 * 64 * 9 + 64) + 4 * (2 * 64 + 64)
    last = 64 * 8 * 9 + 8 + (2 * 2 * 9 + 2) + 3 * (4 * 2 * 9 + 2) + 4 * (2 * 2 + 2)
    with torch.device("meta"):
        network = Published({"kind": "stft", "window_samples": 512}, DEFTAN, 16000, 2, 4)
    assert num_parameters(network) == first + 12 * transformer + last == 3_997_988


@pytest.mark.slow
def test_a_second_of_sound_costs_deftan_what_its_layers_say() -> None:
    with torch.device("meta"):
        network = Published({"kind": "stft", "window_samples": 512}, DEFTAN, 16000, 2, 4)
        waveform = torch.zeros(1, 4, 16000)
        counted = count_macs(network, lambda: network(waveform))
    frames, bins = 64, 257
    places = frames * bins
    first = places * (8 * 256 * 9 + 64 * 64 * 9 + 3 * 128 * 64 * 9)
    last = places * (64 * 8 * 9 + 2 * 2 * 9 + 3 * 4 * 2 * 9)
    split = 64 * 64 * 3 + 3 * 128 * 64 * 3
    attention = 64 * 128 * 3 + 3 * 64 * 256 + 256 * 64 + 2 * 4 * 64 * 64
    feed = 2 * 64 * 128 + 128 * 128 * 5 + 256 * 64
    token = split + attention + feed + 64 * 64 * 4
    tokens = frames * (bins - 3) + bins * (frames - 3)  # of four neighbours each
    assert counted == first + last + 6 * tokens * token


def test_clearbuds_has_the_parameters_of_its_released_sizes() -> None:
    # Worked by hand from the released code's sizes, two microphones, one output.
    block = 256 * 512 + 2 * 512 + 512 * 3 + 2 * 512 + 512 * 256
    ends = 2 * 256 * 50 + 2 * 256 + 256 * 256 + 256 * 256 + 256 * 50
    sizes = [(1, 64), (64, 128), (128, 256), (256, 512), (512, 1024)]
    sizes += [(1024, 512), (512, 256), (256, 128), (128, 64)]
    unet = sum(
        inputs * 9 + 2 * inputs + inputs * outputs + 2 * outputs for inputs, outputs in sizes
    )
    unet += 1024 * 512 + 512  # the lowest level's size stays
    unet += sum(4 * 2 * size * size + size for size in (256, 128, 64)) + 64 + 1
    with torch.device("meta"):
        time_network = clearbuds.TimeNetwork(clearbuds.Config(), 2, 1)
        mel_network = clearbuds.MelUNet(64, 1)
    assert num_parameters(time_network) == 14 * block + ends == 3_890_176
    assert num_parameters(mel_network) == unet == 2_643_724


def test_the_time_network_of_clearbuds_looks_its_frames_ahead_and_no_further() -> None:
    config = from_settings(clearbuds.Config, CLEARBUDS)
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


def macs_of_tiger(num_iterations: int) -> int:
    """Of one second at 16 kHz."""
    with torch.device("meta"):
        network = Published(TIGER, {"kind": "tiger", "num_iterations": num_iterations}, 16000, 4)
        waveform = torch.zeros(1, 1, 16000)
        return count_macs(network, lambda: network(waveform))


@pytest.mark.slow
def test_a_second_of_sound_costs_tiger_as_many_macs_as_published() -> None:
    small, large = macs_of_tiger(4), macs_of_tiger(8)
    # Xu et al. (2025), table 2: 7.65 G and 15.27 G, by a tool that counts also norms and activations.
    # Those touch some 17 thousand values at each of 6,767 places an iteration: 0.1 G, or 6 % of all.
    for counted, published in ((small, 7.65e9), (large, 15.27e9)):
        assert 0.93 * published < counted < published
    # What they count besides grows like the rest.
    assert large / small == pytest.approx(15.27 / 7.65, abs=0.003)  # published to three digits


def test_macs_of_layers_are_those_of_their_formulas() -> None:
    with torch.device("meta"):
        network = nn.Sequential(
            nn.Conv1d(3, 10, 5, stride=2, groups=1), nn.Flatten(1), nn.Linear(10 * 9, 7)
        )
        waveform = torch.zeros(2, 3, 21)
    assert count_macs(network, lambda: network(waveform)) == 2 * (9 * 10 * 3 * 5 + 90 * 7)


def test_macs_of_an_lstm_are_four_gates_a_step() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(5, 7, 2, batch_first=True, bidirectional=True)

        def forward(self, rows: Tensor) -> Tensor:
            output: Tensor = self.lstm(rows)[0]
            return output

    first, second = 4 * 7 * (5 + 7), 4 * 7 * (14 + 7)
    network = Both()
    rows = torch.zeros(3, 11, 5)
    assert count_macs(network, lambda: network(rows)) == 3 * 11 * 2 * (first + second)
    # and it computes as before afterwards
    assert network(rows).shape == (3, 11, 14)


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


def fresh(**changes: Any) -> Any:
    """As built, entries at their start; `tiny_separator` would give them random weights."""
    from tiny_settings import SETTINGS

    from qsep.separation.components import build_separator

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_separator("queried", SETTINGS["queried"] | changes).eval()


@pytest.mark.parametrize(
    "entry", [{"kind": "film"}, {"kind": "cross_attention", "head_channels": 4}, {"kind": "late"}]
)
def test_before_training_all_queries_get_what_a_backbone_without_queries_gives(
    entry: dict[str, Any],
) -> None:
    separator = fresh(entry=entry)
    mixture = noise(1, 1, 300)
    with torch.inference_mode():
        target = separator.separate(mixture, QueryEmbedding(unit_vectors(1, 2, 6))).target
        other = separator.separate(mixture, QueryEmbedding(unit_vectors(1, 2, 6, seed=7))).target
    torch.testing.assert_close(target, other, atol=1e-7, rtol=0)


def test_cross_attention_reads_tokens_that_are_real_and_no_others() -> None:
    separator = tiny_separator("queried:mel_roformer")
    mixture, pooled = noise(1, 1, 300), unit_vectors(1, 1, 6)
    tokens = unit_vectors(1, 1, 3, 6, seed=3)
    other = tokens.clone()
    other[0, 0, 2] = 5.0

    def target(tokens: Tensor, real: list[bool]) -> Tensor:
        embedding = QueryEmbedding(pooled, tokens, torch.tensor([[real]]))
        with torch.inference_mode():
            return separator.separate(mixture, embedding).target

    masked = target(tokens, [True, True, False])
    assert torch.equal(masked, target(other, [True, True, False]))
    assert (masked - target(other, [True, True, True])).abs().max() > 1e-5


def test_mixture_consistency_shares_the_error_equally_between_the_outputs() -> None:
    plain, consistent = (
        tiny_separator("queried", consistent=value, segment_seconds=1.0) for value in (False, True)
    )
    mixture, embedding = noise(2, 1, 300), QueryEmbedding(unit_vectors(2, 3, 6))
    with torch.inference_mode():
        raw, actual = plain.outputs(mixture, embedding), consistent.outputs(mixture, embedding)
    missing = mixture[:, None, None] - raw.sum(dim=2, keepdim=True)
    torch.testing.assert_close(actual, raw + missing / 2, atol=1e-7, rtol=0)
    assert missing.abs().max() > 0.01


def test_without_consistency_the_residual_is_the_networks_own() -> None:
    separator = tiny_separator("queried", consistent=False, segment_seconds=1.0)
    mixture, embedding = noise(2, 1, 300), QueryEmbedding(unit_vectors(2, 3, 6))
    with torch.inference_mode():
        separated, outputs = (
            separator.separate(mixture, embedding),
            separator.outputs(mixture, embedding),
        )
    assert torch.equal(separated.residual, outputs[:, :, 1])


def test_masks_of_target_and_residual_sum_to_one_where_configured() -> None:
    separator = tiny_separator("queried:tiger", consistent=False)
    mixture, embedding = noise(2, 1, 300), QueryEmbedding(unit_vectors(2, 3, 6))
    with torch.inference_mode():
        total = separator.outputs(mixture, embedding).sum(dim=2)
    # 1e-6: an STFT there and back in float32
    torch.testing.assert_close(total, mixture[:, None].expand_as(total), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": {"kind": "tiger"}, "causal": True}, "TIGER is not causal"),
        ({"backbone": {"kind": "demucs"}}, "its analysis must be 'waveform'"),
        ({"backbone": {"kind": "deftan"}, "causal": True}, "DeFTAN-II is not causal"),
        ({"backbone": {"kind": "clearbuds"}, "causal": True}, "ClearBuds looks ahead"),
        ({"backbone": {"kind": "clearbuds"}}, "its analysis must be 'waveform'"),
        ({"backbone": {"kind": "multidilated"}}, "its analysis must be 'stft' or 'waveform'"),
        (
            {"backbone": {"kind": "multidilated"}, "analysis": {"kind": "waveform"}},
            "multidilated works on complex spectra",
        ),
        ({"analysis": {"kind": "filterbank", "num_filters": 8}}, "an analysis of complex spectra"),
        ({"analysis": BANDS | {"hop_samples": 40}}, "at most half a window, 32"),
        ({"analysis": BANDS | {"hop_samples": 16}, "causal": True}, "a hop of half a window"),
        ({"backbone": {"kind": "nothing"}}, "'nothing' is not one of"),
        ({"head": {}}, "needs a kind"),
        ({"analysis": {"kind": "bands", "scheme": "widths", "widths": [3, 4]}}, "sum to 7"),
    ],
)
def test_incompatible_parts_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        separator = fresh(**changes)
        separator.separate(noise(1, 1, 100), QueryEmbedding(unit_vectors(1, 1, 6)))


def test_the_losses_of_both_outputs_are_weighted() -> None:
    generator = rng(0)
    from tiny import mixture_batch

    batch, embedding = mixture_batch(500)
    both, target = (
        tiny_separator("queried", residual_weight=weight).loss(batch, embedding, generator)
        for weight in (1.0, 0.0)
    )
    # Without a weight the target's term is all there is.
    torch.testing.assert_close(target.total[0], target.terms["present"][0])
    # but in the third, where nothing else sounds: target and residual err by the same
    assert (both.total - target.total)[[0, 1, 3]].abs().min() > 1e-3

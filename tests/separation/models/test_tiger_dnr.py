"""TIGER-DnR: the samples, the sizes and the files of the released one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from parity.filling import fall, fill, glide
from parity.recorded import Recorded
from safetensors.torch import save_file
from tiny import noise, tiny_separator
from torch import Tensor, nn

from qsep.queries.interface import QueryEmbedding
from qsep.separation.api import load
from qsep.separation.models import tiger_dnr
from qsep.separation.networks.analyses.bands import widths_in_bins
from qsep.separation.networks.backbones.tiger import MultiScale
from qsep.separation.published.reader import convert_to_folder, load_published

RECORDED = Recorded("tiger_dnr")
NUM_SAMPLES, RATE = 9001, 44100
# What the file does not say: iterations share weights, and the recorder's windows are short.
CHANGES: dict[str, dict[str, Any]] = {
    "separator": {
        "network": {"num_iterations": 2},
        "window_seconds": 0.15,
        "step_seconds": 0.05,
    }
}


def mixture() -> Tensor:
    return torch.from_numpy(glide(NUM_SAMPLES, RATE) + 0.5 * fall(NUM_SAMPLES, RATE))[None]


@pytest.fixture(scope="module", name="released")
def released_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("released") / "model.safetensors"
    save_file(fill(RECORDED.document), path)
    return path


def test_windows_and_recordings_equal_those_of_the_released_code(released: Path) -> None:
    separator: Any = load_published(released, CHANGES)[0]
    assert [separator.config.window_seconds, separator.config.step_seconds] == [
        RECORDED.document["window_seconds"],
        RECORDED.document["step_seconds"],
    ]
    with torch.inference_mode():
        windows = torch.cat([separator.window(index, mixture()) for index in range(3)])
        stems = torch.cat([separator.stem(index, mixture()) for index in range(3)])
    own_outputs = RECORDED.values("window").unflatten(0, (3, 3))[[0, 1, 2], [2, 1, 0]]
    # 1e-5 of samples up to 2.8: two iterations in float32
    torch.testing.assert_close(windows[:, ::3], own_outputs, atol=1e-5, rtol=0)
    torch.testing.assert_close(stems[:, ::3], RECORDED.values("stems"), atol=1e-5, rtol=0)


def test_queries_name_stems_and_the_others_are_not_computed(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert_to_folder(released, tmp_path / "model", CHANGES)
    model = load(str(tmp_path / "model"), "cpu")
    used: list[int] = []
    separator: Any = model.separator
    window = separator.window

    def noted(index: int, mixture: Tensor) -> Tensor:
        used.append(index)
        output: Tensor = window(index, mixture)
        return output

    monkeypatch.setattr(separator, "window", noted)
    separated = model.separate(mixture().numpy(), "Music", sample_rate=RATE)
    np.testing.assert_allclose(
        separated.target[0, ::3], RECORDED.values("stems")[2].numpy(), atol=1e-5
    )
    assert set(used) == {2}
    with pytest.raises(ValueError, match="'vocals' is not one of this model's 3 labels"):
        model.separate(mixture().numpy(), "vocals", sample_rate=RATE)


def test_the_settings_follow_from_the_weights(released: Path) -> None:
    separator: Any = load_published(released)[0]
    config, settings = separator.config, RECORDED.document["settings"]
    assert (config.width, config.num_outputs) == (settings["out_channels"], settings["num_sources"])
    assert (config.window_samples, config.hop_samples) == (settings["win"], settings["stride"])
    network = config.network
    assert (network.hidden_channels, network.num_levels) == (
        settings["in_channels"],
        settings["upsampling_depth"],
    )
    assert (network.num_heads, network.key_channels) == (
        settings["att_n_head"],
        settings["att_hid_chan"],
    )
    assert (config.window_seconds, network.num_iterations) == (12.0, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("effect.mask.3.1.bias"), "no weights of TIGER-DnR"),
        (
            lambda state: state.pop("music.separator.freq_path.0.res_conv.bias"),
            r"networks\.2\.separator\.along_bands\.scales\.reduce\.bias is missing",
        ),
        (
            lambda state: state.update({"dialog.extra": torch.zeros(1)}),
            r"networks\.0\.extra is not part of it",
        ),
        (lambda state: state.update({"more": torch.zeros(1)}), "more is not part of it"),
        (
            lambda state: state.update({"dialog.BN.4.0.weight": torch.zeros(6)}),
            "expected the bands of tiger-dnr at 44100 Hz",
        ),
    ],
)
def test_files_that_differ_are_refused_in_one_line(
    change: Any, message: str, tmp_path: Path
) -> None:
    state = dict(fill(RECORDED.document))
    change(state)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=message) as refused:
        load_published(tmp_path / "model.safetensors")
    assert "\n" not in str(refused.value)


def test_the_released_sizes() -> None:
    # 57 bands (table in the released code's comments: 50, 100, 250, 500, 1k, 2k Hz and the rest)
    widths = widths_in_bins("tiger-dnr", 1025, 44100)
    assert widths == [2] * 20 + [4] * 10 + [11] * 8 + [23] * 8 + [46] * 8 + [92] * 2 + [121]
    with torch.device("meta"):
        separator = tiger_dnr.build(tiger_dnr.Config())
    sizes = [sum(weight.numel() for weight in net.parameters()) for net in separator.networks]
    # 1.4 M each, as others report
    assert sizes == [sizes[0]] * 3
    assert sizes[0] == pytest.approx(1.4e6, abs=0.05e6)


def test_the_released_fusion_starts_two_levels_above_the_coarsest() -> None:
    class Noted(nn.Module):
        def forward(self, local: Tensor, context: Tensor) -> Tensor:
            seen.append(context.shape[2])
            return local

    for released, expected in ((False, [4, 8, 16]), (True, [16, 8, 16])):
        seen: list[int] = []
        scales = MultiScale(2, 3, 4, released)
        scales.fuses = nn.ModuleList(Noted() for _ in scales.fuses)
        scales(noise(1, 1, 32, 2))
        # levels of 32, 16, 8 and 4 steps
        assert seen == expected


def test_each_sample_is_the_mean_of_the_windows_that_cover_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    separator = tiny_separator("tiger_dnr", window_seconds=0.3)
    starts: list[int] = []

    def numbered(index: int, mixture: Tensor) -> Tensor:
        starts.append(len(starts))
        return torch.full_like(mixture, float(len(starts)))

    monkeypatch.setattr(separator, "window", numbered)
    step = separator.stride_samples
    assert (step, separator.num_steps) == (800, 3)
    stem = separator.stem(0, noise(1, 2 * step + 5))
    # Windows 1, 2, 3 cover the first step, 2, 3, 4 the second, 3, 4, 5 the rest.
    assert stem[0].tolist() == [2.0] * step + [3.0] * step + [4.0] * 5
    assert len(starts) == 5


def test_targets_of_two_stems_add_up() -> None:
    separator = tiny_separator("tiger_dnr")
    weights = torch.eye(6)[[0, 3]]
    both = torch.stack([weights[0], weights[1], weights.sum(dim=0)])[None]
    with torch.inference_mode():
        target = separator.separate(noise(1, 2, 300), QueryEmbedding(both)).target[0]
    torch.testing.assert_close(target[2], target[0] + target[1], atol=1e-6, rtol=1e-5)

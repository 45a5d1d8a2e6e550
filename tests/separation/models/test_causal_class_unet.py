"""The causal class U-Net: what it sees, and its start from an offline one."""

import json

import pytest
import torch
from tiny import noise, tiny_separator

from qsep.queries.interface import QueryEmbedding
from qsep.recipes.training.initial_weights.causal import causal_of
from qsep.separation.components import build_separator
from qsep.separation.networks.blocks.recent_mean import RecentMean
from qsep.separation.networks.unets.causal_unet import (
    CausalConv,
    CausalConvNorm,
    Merge,
    ending_now,
    held,
)
from qsep.separation.networks.unets.live_unet import LiveMerge, live_conv
from qsep.separation.storage.shipped import shipped_folder


def settled(frame: torch.Tensor, num: int) -> torch.Tensor:
    """Energies (b, k, num) that are the same in all frames."""
    return frame[..., None].expand(*frame.shape, num)


def test_in_a_steady_sound_it_starts_as_the_offline_network_is() -> None:
    offline = tiny_separator("class_unet")
    causal = causal_of(offline).eval()
    energy = settled(noise(2, 32, seed=4).square(), 800)
    with torch.inference_mode():
        expected, actual = offline.features(energy), causal.features(energy)
    # In the middle of the one and at the end of the other, the present has lasted for all they see. Of the
    # offline network's pair of frames the later one has seen both.
    assert expected.classing[..., 200].std() > 0.1
    for middle, end in (
        (expected.classing[..., 200], actual.classing[..., -1]),
        (expected.refining[..., 401], actual.refining[..., -1]),
        (expected.loudness[..., 401], actual.loudness[..., -1]),
    ):
        torch.testing.assert_close(end, middle, atol=2e-5, rtol=1e-5)  # float32 through 30 layers


def test_taps_at_later_frames_are_added_to_the_present_one() -> None:
    kernel = noise(2, 3, 3, 5, seed=1)
    moved = ending_now(kernel, 1)
    assert torch.equal(moved[..., 0], torch.zeros(2, 3, 3))
    assert torch.equal(moved[..., 1:4], kernel[..., :3])
    torch.testing.assert_close(moved[..., 4], kernel[..., 3] + kernel[..., 4])
    assert torch.equal(ending_now(kernel, 0), kernel)


def test_a_slower_level_computes_every_second_frame_from_the_last_taps() -> None:
    conv = CausalConv(1, 1, stride=(1, 2), dilation=2)
    torch.nn.init.zeros_(conv.conv.weight)
    conv.conv.weight.data[0, 0, 1] = torch.tensor([100.0, 10.0, 1.0])
    with torch.inference_mode():
        output = conv(torch.arange(1.0, 7.0).expand(1, 1, 4, 6))
    # frames 2, 4, 6: each with those 2 and 4 before it
    assert output[0, 0, 0].tolist() == [2.0, 24.0, 246.0]


@pytest.mark.parametrize("sizes", [[12], [1] * 12, [2, 0, 1, 5, 4]])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"), [(3, (1, 1), 3), (5, (2, 1), 1), (3, (2, 4), 2)]
)
def test_a_convolution_of_blocks_is_that_of_torch_with_its_norm(
    kernel: int, stride: tuple[int, int], dilation: int, sizes: list[int]
) -> None:
    conv = CausalConv(7, 3, kernel, stride, dilation)
    norm = torch.nn.BatchNorm2d(3)
    norm.weight.data, norm.bias.data = noise(3, seed=1), noise(3, seed=2)
    norm.running_mean, norm.running_var = noise(3, seed=3), noise(3, seed=4).square() + 0.5
    layer = CausalConvNorm(conv)
    layer.norm = norm
    frames = noise(12, 8, 7, seed=5)  # (n, k, i)
    planes = torch.nn.functional.pad(
        frames.permute(2, 1, 0)[None], ((kernel - 1) * dilation, 0, kernel // 2, kernel // 2)
    )
    with torch.inference_mode():
        live = live_conv(layer)
        actual = torch.cat([live(block) for block in frames.split(sizes)])
        every = torch.nn.functional.conv2d(
            planes, conv.conv.weight, stride=(stride[0], 1), dilation=(1, dilation)
        )
        expected = norm.eval()(every[..., stride[1] - 1 :: stride[1]])
    torch.testing.assert_close(
        actual.permute(2, 1, 0)[None], expected, atol=2e-6, rtol=1e-5
    )  # float32


def test_a_slower_level_is_held_until_its_next_frame() -> None:
    live, coarse = LiveMerge(torch.nn.Conv2d(1, 1, 1), Merge(1, 1), 3), torch.tensor([5.0, 6.0])
    first = live.held(coarse[:0], 2)  # the first coarse frame is complete at the third
    second = live.held(coarse, 5)
    assert first.tolist() == [0.0, 0.0]
    assert second.tolist() == [5.0, 5.0, 5.0, 6.0, 6.0]
    assert held(coarse, 3).tolist() == [0.0, 0.0, 5.0, 5.0, 5.0, 6.0]


def test_a_recent_mean_is_over_the_frames_that_there_are() -> None:
    mean, values = RecentMean(4), noise(2, 3, 9)
    parts = [mean(part) for part in values.split([2, 0, 1, 3, 3], dim=-1)]
    actual = torch.cat(parts, dim=-1)
    for frame in range(9):
        expected = values[..., max(0, frame - 3) : frame + 1].mean(dim=-1)
        torch.testing.assert_close(actual[..., frame], expected, atol=1e-7, rtol=1e-6)


def test_everything_but_a_class_is_the_rest_live_too() -> None:
    separator = tiny_separator("causal_class_unet")
    mixture, dog = noise(3, 1601), torch.eye(6)[:1]
    live = separator.live(QueryEmbedding(torch.cat([dog, 1 - dog])), 3)
    target, rest = torch.cat([*live.push(mixture), *live.finish()], dim=-1)
    torch.testing.assert_close(target + rest, mixture, atol=1e-6, rtol=0)  # float32
    assert target.std() > 0.01 * mixture.std()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shifts": 2}, "no grid to shift"),
        ({"steps": [2, 2, 4, 4, 4]}, "the first 1"),
        ({"steps": [1, 2, 4, 4]}, "one for each level"),
        ({"steps": [1, 3, 6, 6, 6]}, "a divisor of"),
        ({"steps": [1, 4, 2, 4, 4]}, "multiple of the one before"),
    ],
)
def test_impossible_steps_are_refused(changes: dict[str, object], message: str) -> None:
    settings = {"classes": ["dog"], "num_bands": 32}
    with pytest.raises(ValueError, match=message):
        build_separator("causal_class_unet", settings | changes)


def test_the_shipped_model_is_late_by_40_ms() -> None:
    content = json.loads((shipped_folder("sounds150-live") / "config.json").read_text("utf-8"))
    separator = build_separator("causal_class_unet", content["separator"]["config"])
    live = separator.live(QueryEmbedding(torch.zeros(1, separator.query_dim)), 1)
    assert live.latency_samples / separator.sample_rate == 0.040

"""The causal class U-Net: what it sees, and its start from an offline one."""

import json

import pytest
import torch
from tiny import noise, tiny_separator

from qsep.queries.interface import QueryEmbedding
from qsep.recipes.training.initial_weights.causal import causal_of
from qsep.separation.components import build_separator
from qsep.separation.networks.blocks.past import Past, recent_mean
from qsep.separation.networks.unets.causal_unet import CausalConv, ending_now, held
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
    frames = torch.arange(1.0, 8.0).expand(1, 1, 4, 7)
    with torch.inference_mode():
        output = conv(frames, Past())
    # frames 2, 4, 6: each with those 2 and 4 before it
    assert output[0, 0, 0].tolist() == [2.0, 24.0, 246.0]


def test_a_slower_level_is_held_until_its_next_frame() -> None:
    past, coarse = Past(), torch.tensor([[5.0, 6.0]])
    first = held(
        coarse[:, :0], 2, 3, "level", past
    )  # the first coarse frame is complete at the third
    second = held(coarse, 5, 3, "level", past)
    assert first.tolist() == [[0.0, 0.0]]
    assert second.tolist() == [[5.0, 5.0, 5.0, 6.0, 6.0]]


def test_a_recent_mean_is_over_the_frames_that_there_are() -> None:
    past, values = Past(), noise(2, 3, 9)
    parts = [recent_mean(part, 4, "level", past) for part in values.split([2, 1, 6], dim=-1)]
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

"""Speakers: TIGER-speech's arithmetic and files, and the order of outputs in recordings of any length."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from parity.filling import fall, glide
from released_backbones import (
    SPEECH_BANDS,
    SPEECH_RATE,
    SPEECH_WINDOW,
    tiger_speech_state,
    write_tiger_speech,
)
from tiny import noise, rng, tiny_separator
from torch import Tensor

from qsep.queries.interface import QueryEmbedding
from qsep.separation.components import build_separator
from qsep.separation.inference.recording import separate_stream
from qsep.separation.models._aligned_outputs import AlignedOutputs, channels_in_one_order
from qsep.separation.networks.composition import no_query
from qsep.separation.published.reader import load_published

RATE, WINDOW, WIDTHS = SPEECH_RATE, SPEECH_WINDOW, SPEECH_BANDS


def mixture(num_samples: int = 3001) -> Tensor:
    return torch.from_numpy(glide(num_samples, RATE) + 0.5 * fall(num_samples, RATE))[None]


def test_the_masks_are_those_of_each_band_by_itself(tmp_path: Path) -> None:
    """Norm, map, gate and sum band after band, as in sec. 3.2 and 3.4 of the paper, in the released order."""
    state = tiger_speech_state()
    separator: Any = load_published(write_tiger_speech(tmp_path, state))[0]
    window = torch.hann_window(WINDOW)
    spec = torch.stft(mixture(), WINDOW, WINDOW // 4, window=window, return_complex=True)
    parts = spec.split(WIDTHS, dim=1)
    bands = [torch.cat([part.real, part.imag], dim=1) for part in parts]
    with torch.inference_mode():
        features = torch.stack(
            [
                torch.conv1d(
                    torch.group_norm(
                        band,
                        1,
                        state[f"BN.{number}.0.weight"],
                        state[f"BN.{number}.0.bias"],
                        torch.finfo(torch.float32).eps,
                    ),
                    state[f"BN.{number}.1.weight"],
                    state[f"BN.{number}.1.bias"],
                )
                for number, band in enumerate(bands)
            ],
            dim=2,
        )
        hidden = separator.backbone(features, no_query)
        masked = []
        for number, part in enumerate(parts):
            rows = torch.prelu(hidden[:, :, number], state[f"mask.{number}.0.weight"])
            kernel, bias = state[f"mask.{number}.1.weight"], state[f"mask.{number}.1.bias"]
            maps = torch.conv1d(rows, kernel, bias, groups=2).reshape(2, 2, 2, part.shape[1], -1)
            real, imaginary = maps[0] * maps[1].sigmoid()  # each (speakers, bins, frames)
            mask = torch.complex(
                real - (real.sum(dim=0) - 1) / 2, imaginary - imaginary.sum(dim=0) / 2
            )
            masked.append(part * mask)
        speakers = torch.istft(
            torch.cat(masked, dim=1), WINDOW, WINDOW // 4, window=window, length=3001
        )
        outputs = separator.segment(mixture()[None])[0, :, 0]
    # 1e-5 of samples up to 1.2: two iterations in float32
    torch.testing.assert_close(outputs, speakers, atol=1e-5, rtol=0)
    assert (outputs[0] - outputs[1]).abs().max() > 0.1


@pytest.mark.parametrize("num_blocks", [None, 3])
def test_the_iterations_are_those_of_the_file_beside_it(
    num_blocks: int | None, tmp_path: Path
) -> None:
    path = write_tiger_speech(tmp_path, tiger_speech_state(), num_blocks)
    if num_blocks is None:
        (tmp_path / "config.json").unlink()
    separator: Any = load_published(path)[0]
    assert separator.backbone.num_iterations == (num_blocks or 8)
    assert (separator.sample_rate, separator.config.analysis["window_samples"]) == (RATE, WINDOW)


@pytest.mark.parametrize(
    ("change", "num_blocks", "message"),
    [
        (lambda state: state.pop("mask.3.1.bias"), 2, "no weights of TIGER-speech"),
        (
            lambda state: state.pop("separator.freq_path.0.res_conv.bias"),
            2,
            r"backbone\.along_bands\.scales\.reduce\.bias is missing",
        ),
        (lambda state: state.update({"more": torch.zeros(1)}), 2, "more is not part of it"),
        (
            lambda state: state.update({"BN.4.0.weight": torch.zeros(6)}),
            2,
            "expected the bands of tiger at 16000 Hz",
        ),
        (lambda state: state.update(tiger_speech_state(3)), 2, "made for 3 speakers; expected 2"),
        (lambda state: None, 0, r"config\.json: expected num_blocks, 1 or more"),
        (lambda state: None, "8", r"config\.json: expected num_blocks, 1 or more"),
    ],
)
def test_files_that_differ_are_refused_in_one_line(
    change: Any, num_blocks: object, message: str, tmp_path: Path
) -> None:
    state = dict(tiger_speech_state())
    change(state)
    path = write_tiger_speech(tmp_path, state, num_blocks)
    with pytest.raises(ValueError, match=message) as refused:
        load_published(path)
    assert "\n" not in str(refused.value)


def test_the_released_size() -> None:
    bands = {"kind": "bands", "window_samples": 640, "hop_samples": 160, "scheme": "tiger"}
    settings = {
        "analysis": bands | {"width": 128, "readout": "linear", "shares": 2, "released": True},
        "backbone": {"kind": "tiger"},
        "head": {"kind": "complex_mask", "sum_to_one": True},
    }
    with torch.device("meta"):
        separator = build_separator("speakers", settings)
    # 0.82 M in the paper, counted of the names and shapes of the released file
    assert sum(weight.numel() for weight in separator.parameters()) == 821_932


SPEAKERS = torch.stack([torch.linspace(1, 2, 101), torch.linspace(3, -3, 101)])


@pytest.mark.parametrize("block", [1, 7, 101])
@pytest.mark.parametrize("num_samples", [1, 15, 16, 17, 101])
def test_outputs_that_come_in_any_order_are_joined_in_one(block: int, num_samples: int) -> None:
    calls = 0

    def run(segment: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        outputs = segment[:, :, None]
        return outputs.flip(1) if calls % 2 == 0 else outputs

    joined = AlignedOutputs(run, 8)
    recording = SPEAKERS[None, :, :num_samples]
    parts = [part for piece in recording.split(block, dim=-1) for part in joined.push(piece)]
    actual = torch.cat([*parts, *joined.finish()], dim=-1)
    # 1e-6: a crossfade of equal values
    torch.testing.assert_close(actual[:, :, 0], recording, atol=1e-6, rtol=0)
    assert calls == max(1, -(-num_samples // 8) - 1)


def test_channels_have_the_order_of_the_loudest() -> None:
    speakers = noise(2, 400, seed=1)
    gains = torch.tensor([[0.2, 0.3], [2.0, 1.0], [0.1, -0.4]])[..., None]
    channels = gains * speakers
    channels[2, 1] += 0.5 * speakers[1]  # 0.1 of it
    mixed = torch.stack([channels[0].flip(0), channels[1], channels[2].flip(0)])
    actual = channels_in_one_order(mixed[None])
    assert torch.equal(actual[0], channels)


@pytest.mark.parametrize("kind", ["speakers", "speakers:tiger"])
def test_a_long_recording_is_separated_in_blocks_as_at_once(kind: str) -> None:
    separator = tiny_separator(kind)
    recording = noise(2, 2 * separator.context_samples + 701)
    queries = QueryEmbedding(torch.eye(6)[[4, 1]])
    with torch.inference_mode():
        whole = separator.separate(recording[None], queries.map(lambda entry: entry[None])).target
    blocks = [block.numpy() for block in recording.split(333, dim=-1)]
    pairs = separate_stream(separator, blocks, separator.sample_rate, queries)
    actual = np.concatenate([targets for _, targets in pairs], axis=-1)
    np.testing.assert_allclose(actual, whole[0].numpy(), atol=1e-6)


def test_the_order_apart_a_target_depends_on_no_input_beyond_a_segment() -> None:
    separator = tiny_separator("speakers")
    context = separator.context_samples
    recording = noise(1, 1, 3 * context)
    changed = recording.clone()
    changed[..., : separator.stride_samples] = noise(1, 1, separator.stride_samples, seed=4)
    weights = QueryEmbedding(torch.eye(6)[None])
    with torch.inference_mode():
        before, after = (
            separator.separate(sound, weights).target[0, :, 0, context:]
            for sound in (recording, changed)
        )
    rows = {tuple(row[:9].tolist()) for row in before}
    assert {tuple(row[:9].tolist()) for row in after} == rows
    assert len(rows) == 6


def test_targets_of_two_speakers_add_up() -> None:
    separator = tiny_separator("speakers")
    weights = torch.eye(6)[[0, 3]]
    both = torch.stack([weights[0], weights[1], weights.sum(dim=0)])[None]
    with torch.inference_mode():
        target = separator.separate(noise(1, 2, 300), QueryEmbedding(both), rng(0)).target[0]
    torch.testing.assert_close(target[2], target[0] + target[1], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"speakers": []}, "speakers is empty"),
        ({"segment_seconds": 0}, "segment_seconds is 0"),
        (
            {"analysis": {"kind": "waveform"}, "backbone": {"kind": "demucs"}},
            "demucs makes maps itself; speakers need a readout",
        ),
    ],
)
def test_settings_that_make_no_speakers_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        build_separator("speakers", changes)

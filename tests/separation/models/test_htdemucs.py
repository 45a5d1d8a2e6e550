"""Hybrid Transformer Demucs: the samples, the size and the files of the released one."""

import pickle
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from parity.filling import fall, fill, glide
from parity.recorded import Recorded
from released_backbones import write_htdemucs
from tiny import noise
from torch import Tensor

from qsep.queries.interface import QueryEmbedding, TextQuery
from qsep.separation.components import build_separator
from qsep.separation.networks.backbones import htdemucs
from qsep.separation.published.reader import convert_to_folder, load_published
from qsep.separation.signal.segments import in_segments

RECORDED = Recorded("htdemucs")
NUM_SAMPLES = 5003


def released_state() -> dict[str, Tensor]:
    return fill(RECORDED.document)


def released_arguments() -> dict[str, Any]:
    """The recorded settings, in the types that released files have."""
    return dict(RECORDED.document["settings"]) | {"segment": Fraction(13, 20)}


def mixture() -> Tensor:
    left, right = glide(NUM_SAMPLES, 8000), fall(NUM_SAMPLES, 8000)
    return torch.from_numpy(np.stack([left + 0.3 * right, 0.5 * left - right]))[None]


@pytest.fixture(name="released")
def released_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = {"args": (), "kwargs": released_arguments(), "state": released_state()}
    write_htdemucs(tmp_path / "tiny.th", package, monkeypatch)
    return tmp_path / "tiny.th"


def test_a_released_file_gives_the_samples_of_the_released_code(released: Path) -> None:
    separator, encoder, config = load_published(released)
    assert config["separator"]["kind"] == "htdemucs"
    assert separator.sample_rate == 8000
    embedding = encoder.encode([TextQuery("vocals"), TextQuery("Drums")])
    queries = embedding.map(lambda entry: entry[None])
    network: Any = separator
    with torch.inference_mode():
        # As recorded, without filling up; a segment of 0.65 s is 5,200 samples.
        maps = network.network(mixture()[:, :, None], lambda site, hidden: hidden)
        stems = maps[0, :, 0].unflatten(0, (3, 2))
        target = separator.separate(mixture(), queries).target[0]
        filled = network.segment(mixture())[0]
    # 1e-4 of samples up to 1.5: some forty layers in float32, spectra summed in another order
    torch.testing.assert_close(stems[..., ::3], RECORDED.values("stems"), atol=1e-4, rtol=1e-4)
    assert torch.equal(target[0], filled[2])
    assert torch.equal(target[1], filled[0])


def test_the_released_size_and_every_name_of_its_weights() -> None:
    # 41,984,456 of the released model of four stems, counted of its code
    with torch.device("meta"):
        network = htdemucs.build(htdemucs.Config(), 2, 1, 8, False)
        plain = htdemucs.build(htdemucs.Config(decoder_branches=False), 2, 1, 8, False)
    assert sum(weight.numel() for weight in network.parameters()) == 41_984_456
    assert sum(weight.numel() for weight in plain.parameters()) == 41_473_616


def test_a_converted_folder_is_queried_by_names_of_stems(released: Path, tmp_path: Path) -> None:
    from qsep.separation.api import load

    convert_to_folder(released, tmp_path / "model")
    model = load(str(tmp_path / "model"), "cpu")
    separated = model.separate(mixture()[0].numpy(), "bass", sample_rate=8000)
    separator = load_published(released)[0]
    with torch.inference_mode():
        queries = QueryEmbedding(torch.tensor([[[0.0, 1.0, 0.0]]]))
        expected = separator.separate(mixture(), queries).target[0, 0]
    np.testing.assert_allclose(separated.target, expected.numpy(), atol=1e-5)
    with pytest.raises(ValueError, match="'guitar' is not one of this model's 3 labels"):
        model.separate(mixture()[0].numpy(), "guitar", sample_rate=8000)


class Bomb:
    """Unpickled freely, it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_file_that_would_run_code_is_refused_and_runs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = tmp_path / "ran"
    arguments = released_arguments() | {"t_dropout": Bomb(trace)}
    package = {"args": (), "kwargs": arguments, "state": released_state()}
    write_htdemucs(tmp_path / "bomb.th", package, monkeypatch)
    with pytest.raises(ValueError, match="holds code, which is never run"):
        load_published(tmp_path / "bomb.th")
    assert not trace.exists()
    assert pickle.loads(pickle.dumps(Bomb(trace))) is None  # it is a working one
    assert trace.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cac": False}, "cac is False; only True can be converted"),
        ({"multi_freqs": [0.25]}, r"multi_freqs is \[0.25\]"),
        ({"nfft": 1000}, "window_samples is 1000; half of it must divide by 4\\^3"),
        ({"bottom_channels": 20}, "weights do not fit the model"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    changes: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = released_arguments() | changes
    package = {"args": (), "kwargs": arguments, "state": released_state()}
    write_htdemucs(tmp_path / "tiny.th", package, monkeypatch)
    with pytest.raises(ValueError, match=message):
        load_published(tmp_path / "tiny.th")


def test_half_precision_weights_are_read_as_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {key: value.half() for key, value in released_state().items()}
    package = {"args": (), "kwargs": released_arguments(), "state": state}
    write_htdemucs(tmp_path / "half.th", package, monkeypatch)
    network: Any = load_published(tmp_path / "half.th")[0]
    weights = network.network.state_dict()
    assert all(torch.equal(weights[key], value.float()) for key, value in state.items())


def test_unchanged_segments_add_up_to_the_recording() -> None:
    recording = noise(2, 3, 101)
    actual = in_segments(lambda segment: segment[:, None], recording, 8)
    torch.testing.assert_close(actual, recording[:, None], atol=1e-7, rtol=0)


def test_targets_of_two_stems_add_up() -> None:
    from tiny_settings import SETTINGS

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        separator = build_separator("htdemucs", SETTINGS["htdemucs"]).eval()
    weights = torch.eye(6)[[0, 3]]
    both = torch.stack([weights[0], weights[1], weights.sum(dim=0)])[None]
    with torch.inference_mode():
        target = separator.separate(noise(1, 2, 300), QueryEmbedding(both)).target[0]
    torch.testing.assert_close(target[2], target[0] + target[1], atol=1e-6, rtol=1e-5)

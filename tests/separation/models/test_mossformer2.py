"""MossFormer2: the samples, the sizes and the files of the released one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import Run, record
from parity.filling import fall, glide
from parity.recorded import Recorded
from released_backbones import mossformer2_state, write_mossformer2
from torch import Tensor

from qsep.separation.api import load
from qsep.separation.components import build_separator
from qsep.separation.published.converters import mossformer2
from qsep.separation.published.reader import convert_to_folder, load_published

RECORDED = Recorded("mossformer2")
NUM_SAMPLES, RATE = 2400, 16000
BLOCK = "mask_net.mdl.intra_mdl.mossformerM."


def mixture() -> Tensor:
    return torch.from_numpy(glide(NUM_SAMPLES, RATE) + 0.5 * fall(NUM_SAMPLES, RATE))[None]


@pytest.fixture(scope="module", name="released")
def released_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mossformer2(tmp_path_factory.mktemp("released"), mossformer2_state())


def test_speakers_and_masks_equal_those_of_the_released_network(released: Path) -> None:
    separator: Any = load_published(released)[0]
    with torch.inference_mode():
        speakers = separator.network(mixture())[0]
        carrier = separator.analysis.carrier(mixture()[:, None])
        features = separator.analysis.features(carrier)
        hidden = separator.backbone(features, lambda site, hidden: hidden)
        masks = separator.readout(hidden)[0].relu()
    recorded = RECORDED.values("masks")
    assert recorded.max() > 0.1
    # 1e-5: two layers in float32
    torch.testing.assert_close(masks[..., ::3], recorded, atol=1e-5, rtol=1e-4)
    expected = RECORDED.values("speakers")
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(speakers, expected, atol=1e-5, rtol=1e-4)


def test_one_gain_brings_the_sum_of_the_speakers_nearest_to_the_mixture(released: Path) -> None:
    separator: Any = load_published(released)[0]
    with torch.inference_mode():
        outputs = separator.segment(mixture()[None])[0, :, 0].double().numpy()
    speakers = RECORDED.values("speakers").double().numpy()
    gain = np.linalg.lstsq(speakers.sum(axis=0)[:, None], mixture()[0].double().numpy())[0]
    np.testing.assert_allclose(outputs, gain * speakers, atol=1e-5)


@pytest.mark.parametrize("name", ["last_best_checkpoint.pt", "last_best_checkpoint"])
def test_a_file_is_queried_by_the_numbers_of_speakers(
    qsep: Run, released: Path, tmp_path: Path, name: str
) -> None:
    path = released.parent / name
    done = qsep(
        "separate", record(tmp_path / "in.wav"), "-q", "Speaker 2", "-m", path, "-o", tmp_path
    )
    assert done.code == 0, done.err
    failed = qsep("separate", tmp_path / "in.wav", "-q", "a dog", "-m", path)
    assert "'a dog' is not one of this model's 2 labels: speaker 1, speaker 2" in failed.error


def test_a_converted_folder_gives_the_same_speakers(released: Path, tmp_path: Path) -> None:
    convert_to_folder(released.parent / "last_best_checkpoint.pt", tmp_path / "model")
    model = load(str(tmp_path / "model"), "cpu")
    separated = model.separate(mixture().numpy(), ["speaker 1", "speaker 2"], sample_rate=RATE)
    separator: Any = load_published(released)[0]
    with torch.inference_mode():
        expected = separator.segment(mixture()[None])[0, :, 0].numpy()
    for result, output in zip(separated, expected, strict=True):
        np.testing.assert_allclose(result.target[0], output, atol=1e-6)


def test_names_of_weights_may_begin_with_that_of_parallel_training(tmp_path: Path) -> None:
    state = mossformer2_state()
    plain = load_published(write_mossformer2(tmp_path, state))[0]
    parallel = {f"module.{key}": value for key, value in state.items()}
    other = load_published(write_mossformer2(tmp_path, parallel))[0]
    weights = [separator.state_dict() for separator in (plain, other)]  # type: ignore[attr-defined]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: state.pop(f"{BLOCK}fsmn.1.norm2.bias"),
            rf"{BLOCK}fsmn\.1\.norm2\.bias is missing",
        ),
        (
            lambda state: state.pop(f"{BLOCK}layers.0.qk_offset_scale.gamma"),
            r"no weights of MossFormer2_SS \('.*gamma' is missing\)",
        ),
        (lambda state: state.update({"extra": torch.zeros(1)}), "extra is not part of it"),
        (
            lambda state: state.update({"mask_net.pos_enc.inv_freq": torch.ones(8)}),
            r"mask_net\.pos_enc\.inv_freq are other rates of positions",
        ),
        (
            lambda state: state.update({"dec.weight": torch.zeros(16, 1, 15)}),
            r"dec\.weight is \(16, 1, 15\), expected \(16, 1, 16\)",
        ),
    ],
)
def test_files_that_differ_are_refused_in_one_line(
    change: Any, message: str, tmp_path: Path
) -> None:
    state = mossformer2_state()
    change(state)
    path = write_mossformer2(tmp_path, state)
    with pytest.raises(ValueError, match=message) as refused:
        load_published(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "content", [b"", b"../model.pt\n", b"absent.pt", b"\xff\xfe\n", b"x" * 9999]
)
def test_a_text_file_that_names_no_file_beside_it_is_refused(
    content: bytes, tmp_path: Path
) -> None:
    (tmp_path / "last_best_checkpoint").write_bytes(content)
    with pytest.raises(ValueError, match=r"\A[^\n]*which is not beside it; fetch it too\Z"):
        load_published(tmp_path / "last_best_checkpoint")


def test_the_released_size() -> None:
    with torch.device("meta"):
        separator = build_separator("speakers", {})
    # 55,735,666 numbers in the released file, of which 272 are rates of positions
    assert sum(weight.numel() for weight in separator.parameters()) == 55_735_666 - 272


def test_every_released_name_is_that_of_a_weight_here() -> None:
    with torch.device("meta"):
        separator = build_separator("speakers", {})
    names = {mossformer2.renamed(key) for key in names_of_the_released_file()}
    assert names == set(separator.state_dict())


def names_of_the_released_file() -> list[str]:
    """Those of the recorded two layers, for 24."""
    names = []
    for key, _ in RECORDED.document["keys"]:
        kind, layer, rest = key.removeprefix(BLOCK).split(".", 2) if BLOCK in key else ("", "0", "")
        names += [f"{BLOCK}{kind}.{i}.{rest}" for i in range(24) if layer == "0"] if kind else [key]
    # 1,076 in the released file, with the rates of positions, which the layers share
    assert len(names) == 1076 - 2
    return names

"""storage.checkpoint: what is saved is loaded again unchanged; damaged files are refused in one line."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import tiny_separator, weights_of
from tiny_settings import SETTINGS

from qsep.separation.components import build_encoder, build_separator
from qsep.separation.storage.checkpoint import (
    describe,
    load_checkpoint,
    save_checkpoint,
)
from qsep.separation.storage.weights import read_weights, weights_fingerprint


def saved(folder: Path, seed: int = 0, **settings: Any) -> Path:
    separator, encoder = tiny_separator(seed=seed, query_dim=384), build_encoder("minilm", {})
    description = describe("band_unet", separator, "minilm", encoder, {"step": 7})
    save_checkpoint(folder, description, separator.state_dict(), "# Card, für alle\n", **settings)
    return folder


@pytest.fixture(name="folder")
def checkpoint(tmp_path: Path) -> Path:
    return saved(tmp_path / "model")


def refusal(folder: Path) -> str:
    """The one line that loading gives, without the temporary folder's name."""
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as caught:
        load_checkpoint(folder)
    line = str(caught.value)
    assert str(folder) in line
    return line.replace(str(folder), "MODEL")


def change_config(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def test_a_checkpoint_comes_back_with_its_settings_weights_and_provenance(folder: Path) -> None:
    separator, encoder, config = load_checkpoint(folder)
    original: Any = tiny_separator(query_dim=384)
    assert separator.config == original.config
    assert encoder.fingerprint == config["encoder"]["fingerprint"]
    assert (config["sample_rate"], config["provenance"]) == (8000, {"step": 7})
    assert isinstance(separator, torch.nn.Module)
    assert not separator.training
    state = weights_of(separator)
    assert state.keys() == original.state_dict().keys()
    assert all(torch.equal(state[key], value) for key, value in original.state_dict().items())
    assert (folder / "README.md").read_text("utf-8") == "# Card, für alle\n"


def test_permissions_of_a_checkpoint_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        folder = saved(tmp_path / "model")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == dict.fromkeys(modes, 0o640)
    assert "model.safetensors" in modes


def test_half_precision_is_stored_in_half_the_bytes_and_read_as_float32(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", dtype=torch.float16)
    weights = read_weights(folder / "model.safetensors")
    assert weights["concept_masks.weight"].dtype == torch.float16
    assert weights["reader.concepts"].dtype == torch.int64
    separator: Any = load_checkpoint(folder)[0]
    original = tiny_separator(query_dim=384).concept_masks.weight
    assert separator.concept_masks.weight.dtype == torch.float32
    assert torch.equal(separator.concept_masks.weight, original.half().float())


def test_kernels_in_8_bits_are_read_as_float32(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", dtype=torch.int8)
    stored = load_file(folder / "model.safetensors")
    original = tiny_separator(query_dim=384).state_dict()
    rounded = {key for key, value in stored.items() if value.dtype == torch.int8}
    assert "reader.phrases" in rounded
    separator: Any = load_checkpoint(folder)[0]
    for key, value in separator.state_dict().items():
        assert value.dtype == original[key].dtype
        if key in rounded:  # half a step of the row's largest, and that of float16
            largest = (
                original[key].float().flatten(1).abs().amax(dim=1).view(-1, *[1] * (value.ndim - 1))
            )
            assert ((value - original[key]).abs() <= largest * (1 / 254 + 2**-11)).all()
        else:
            kernel = value.is_floating_point() and value.ndim > 1
            assert torch.equal(value, original[key].half().to(value) if kernel else original[key])


@pytest.mark.skipif(sys.platform != "linux", reason="file names are any bytes on Linux alone")
@pytest.mark.parametrize("mapped", [False, True])
def test_a_folder_whose_name_is_not_utf_8_loads(tmp_path: Path, mapped: bool) -> None:
    folder = saved(tmp_path / "model")
    separator = load_checkpoint(folder)[0]
    other = folder.rename(tmp_path / os.fsdecode(b"mod\xe9l"))
    states = [weights_of(separator), weights_of(load_checkpoint(other, mapped=mapped)[0])]
    assert all(torch.equal(value, states[0][key]) for key, value in states[1].items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int8])
def test_memory_mapped_weights_equal_loaded_ones(tmp_path: Path, dtype: torch.dtype) -> None:
    folder = saved(tmp_path / "model", dtype=dtype)
    mapped, copied = (load_checkpoint(folder, mapped=choice)[0] for choice in (True, False))
    states = [weights_of(separator) for separator in (mapped, copied)]
    assert states[0].keys() == states[1].keys()
    for key, value in states[1].items():
        assert states[0][key].dtype == value.dtype, key
        assert torch.equal(states[0][key], value), key


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="needs Linux's map of memory")
def test_weights_are_memory_mapped_only_on_request(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model")
    for mapped in (False, True):
        separator = load_checkpoint(folder, mapped=mapped)[0]
        assert (str(folder) in Path("/proc/self/maps").read_text()) == mapped
        del separator


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "damaged (Expecting value: line 1 column 1 (char 0)); fetch it again"),
        ('{"format": 1', "damaged (Expecting ',' delimiter: line 1 column 13 (char 12))"),
        ("[]", "damaged (list indices must be integers or slices, not str)"),
        ("{}", "damaged ('format' is missing)"),
        ('{"format": 1}', "damaged ('separator' is missing)"),
        ('{"format": "1"}', "damaged (format is '1', not a number)"),
        ('{"format": 9}', "format 9, this qsep reads 1; update qsep"),
    ],
)
def test_a_damaged_config_is_refused(folder: Path, content: str, fault: str) -> None:
    (folder / "config.json").write_text(content)
    assert refusal(folder).startswith(f"MODEL/config.json: {fault}")


def test_a_config_that_is_not_text_is_refused(folder: Path) -> None:
    (folder / "config.json").write_bytes(b"\xff\xfe\x00")
    assert "MODEL/config.json: damaged ('utf-8' codec can't decode" in refusal(folder)


@pytest.mark.parametrize(
    "part", ["separator.kind", "separator.config", "encoder.config", "encoder.fingerprint"]
)
def test_a_config_with_a_missing_or_wrong_part_is_refused(folder: Path, part: str) -> None:
    group, key = part.split(".")
    change_config(folder, lambda config: config[group].update({key: 5}))
    assert refusal(folder) == f"MODEL/config.json: damaged ({part} is 5); fetch it again"
    change_config(folder, lambda config: config[group].pop(key))
    assert refusal(folder) == f"MODEL/config.json: damaged ('{key}' is missing); fetch it again"


def test_an_unknown_separator_is_refused_with_the_known_ones(folder: Path) -> None:
    change_config(folder, lambda config: config["separator"].update(kind="os"))
    assert "'os' is not one of audiovisual, band_unet" in refusal(folder)


def test_an_unknown_encoder_is_refused_with_the_known_ones(folder: Path) -> None:
    change_config(folder, lambda config: config["encoder"].update(kind="cache"))
    line = refusal(folder)
    assert "'cache' is not one of " in line
    assert "minilm" in line
    assert "interface" not in line


def test_an_unknown_setting_is_refused_with_the_known_ones(folder: Path) -> None:
    change_config(folder, lambda config: config["separator"]["config"].update(depth=5))
    assert "unknown setting 'depth'; known: absent_weight, blocks" in refusal(folder)


def test_a_setting_that_is_missing_is_refused(folder: Path) -> None:
    change_config(folder, lambda config: config["separator"]["config"].pop("class_names"))
    assert "missing 1 required positional argument: 'class_names'" in refusal(folder)


def test_a_setting_of_another_type_is_refused(folder: Path) -> None:
    change_config(folder, lambda config: config["separator"]["config"].update(hop_samples="32"))
    assert refusal(folder).startswith("MODEL/config.json: ")


def test_another_encoder_than_the_one_trained_with_is_refused(folder: Path) -> None:
    change_config(folder, lambda config: config["encoder"].update(fingerprint="minilm-0"))
    line = refusal(folder)
    assert line.startswith("MODEL: made for queries by minilm-0, but this encoder is minilm-53aa")


def test_a_folder_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "MODEL: not a checkpoint folder (no config.json in it)"


def test_missing_weights_are_named(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert refusal(folder) == "MODEL/model.safetensors: missing; fetch the checkpoint again"


@pytest.mark.parametrize("kept", [0, 5, 1000, -1])
def test_truncated_weights_are_refused(folder: Path, kept: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    assert refusal(folder).startswith("MODEL/model.safetensors: damaged (")


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_refused(folder: Path, value: float) -> None:
    change_weights(folder, lambda weights: weights["unet.head.bias"][3:4].fill_(value))
    line = "MODEL: weights unet.head.bias are not finite; fetch the checkpoint again"
    assert refusal(folder) == line


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda w: w.pop("unet.head.bias"), "unet.head.bias is missing"),
        (lambda w: w.update(more=torch.zeros(2)), "more is not part of it"),
        (
            lambda w: w.update({"unet.head.bias": torch.zeros(3)}),
            "unet.head.bias is (3,), expected (20,)",
        ),
        (
            lambda w: [w.pop("unet.head.bias"), w.update(more=torch.zeros(2))],
            "unet.head.bias is missing (and 1 more)",
        ),
    ],
)
def test_weights_of_another_network_are_refused(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], Any], fault: str
) -> None:
    change_weights(folder, change)
    assert refusal(folder) == f"MODEL: weights do not fit the model: {fault}"


def test_saving_again_replaces_the_checkpoints_files_and_no_others(folder: Path) -> None:
    before = weights_fingerprint(folder)
    (folder / "notes").touch()
    saved(folder, seed=1)
    assert weights_fingerprint(folder) != before
    assert sorted(path.name for path in folder.iterdir()) == [
        ".qsep.jsonl",
        "README.md",
        "config.json",
        "model.safetensors",
        "notes",
    ]
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("failing_rename", [0, 1])
def test_an_error_while_saving_leaves_the_old_folder_whole(
    folder: Path, failing_rename: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, renames, rename = weights_fingerprint(folder), iter(range(9)), os.replace

    def replace(source: Path, destination: Path) -> None:
        if next(renames) == failing_rename:
            raise OSError("no space left")
        rename(source, destination)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match="no space left"):
        saved(folder, seed=1)
    load_checkpoint(folder)
    assert weights_fingerprint(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_weights_that_could_not_be_loaded_again_are_not_saved(folder: Path) -> None:
    before = weights_fingerprint(folder)
    weights = {"level": torch.full((2, 3), 1e5)}  # infinite as float16
    with pytest.raises(ValueError, match=r"not saved: weights level are not finite"):
        save_checkpoint(folder, {}, weights, "", torch.float16)
    weights = {"level": torch.full((2, 99), torch.nan)}
    with pytest.raises(ValueError, match=r"not saved: weights level.row_scale are not finite"):
        save_checkpoint(folder, {}, weights, "", torch.int8)
    assert weights_fingerprint(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_the_fingerprint_follows_the_weights(folder: Path) -> None:
    before = weights_fingerprint(folder)
    change_weights(folder, lambda weights: weights["unet.head.bias"][0:1].add_(1e-3))
    assert weights_fingerprint(folder) != before


def test_lists_in_settings_become_tuples_so_that_they_cannot_change() -> None:
    separator = build_separator("band_unet", SETTINGS["band_unet"])
    assert separator.config.channels == (4, 6, 8, 10, 12)
    hash(separator.config)


def test_a_bad_setting_that_was_given_is_not_blamed_on_the_file(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"config\.json with the settings that were given: .*-7"):
        load_checkpoint(folder, changes={"separator": {"sample_rate": -7}})
